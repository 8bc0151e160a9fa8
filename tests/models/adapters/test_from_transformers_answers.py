"""Vision-language models answer as transformers itself decodes them; only local, random, tiny ones are used."""

import pytest
import torch

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.core.kinds import Answerer
from kintsugi.models.adapters.from_transformers_answers import VisualAnswerer, open_answerer

transformers = pytest.importorskip("transformers")
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "<image>",
    "yes",
    "no",
    "is",
    "it",
    "a",
    "cat",
    "dog",
    "?",
    "user",
]


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]",
        additional_special_tokens=["<image>"],
    )  # fmt: skip


def vocabulary(folder):
    path = folder / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    """A decoder that goes on with the text: it gives the question back before its answer."""
    torch.manual_seed(0)
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    text = transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=5, image_seq_length=4)
    net = transformers.LlavaForConditionalGeneration(config).eval()
    size = {"height": 16, "width": 16}
    looks = transformers.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size)
    template = "{% for m in messages %}user {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}"
    template += "{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    processor = transformers.LlavaProcessor(
        looks, tokenizer(), patch_size=8, vision_feature_select_strategy="default", chat_template=template,
        num_additional_image_tokens=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llava")
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, net


def test_a_decoder_answers_with_its_most_probable_words(llava):
    folder, net = llava
    answerer = open_answerer(f"hf:{folder}", longest=3)
    assert isinstance(answerer, Answerer)
    image = torch.rand(2, 3, 16, 16)
    questions = ["is it a cat ?", "dog ?"]
    said = answerer.answer(image, questions)
    assert len(said) == 2
    for one, question, answer in zip(image, questions, said, strict=True):
        from torchvision.transforms.functional import to_pil_image

        given = answerer.processor(images=[to_pil_image(one)], text=[f"user <image> {question}"], return_tensors="pt")
        tokens, pixels = given["input_ids"], given["pixel_values"]
        words = []
        with torch.no_grad():
            for _ in range(3):  # greedy, by hand
                following = int(net(input_ids=tokens, pixel_values=pixels).logits[0, -1].argmax())
                if following == 3:
                    break
                words.append(WORDS[following])
                tokens = torch.cat([tokens, torch.tensor([[following]])], dim=1)
        special = {"[PAD]", "[CLS]", "[SEP]", "[UNK]", "<image>"}
        assert answer.split() == [word for word in words if word not in special]
        assert "cat" not in question or answer != question


def test_one_by_one_and_together_are_the_same(llava):
    answerer = open_answerer(f"hf:{llava[0]}", longest=2)
    image = torch.rand(3, 3, 20, 16)
    questions = ["cat ?", "is it a dog ?", "is it ?"]
    together = answerer.answer(image, questions)
    alone = [answerer.answer(image[k : k + 1], questions[k : k + 1])[0] for k in range(3)]
    assert together == alone


def test_an_encoder_decoder_gives_the_answer_alone(tmp_path):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BlipConfig(
        text_config={
            **sizes, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "pad_token_id": 0, "bos_token_id": 2,
            "eos_token_id": 3, "sep_token_id": 3, "max_position_embeddings": 32, "projection_dim": 16,
        },
        vision_config={**sizes, "image_size": 16, "patch_size": 8, "projection_dim": 16}, projection_dim=16,
        image_text_hidden_size=16,
    )  # fmt: skip
    net = transformers.BlipForQuestionAnswering(config).eval()
    looks = transformers.BlipImageProcessor(size={"height": 16, "width": 16})
    net.save_pretrained(tmp_path)
    transformers.BlipProcessor(looks, transformers.BertTokenizer(vocabulary(tmp_path))).save_pretrained(tmp_path)
    answerer = open_answerer(f"hf:{tmp_path}", longest=3)
    assert type(answerer.net).__name__ == "BlipForQuestionAnswering"
    said = answerer.answer(torch.rand(2, 3, 16, 16), ["is it a cat ?", "dog ?"])
    assert len(said) == 2
    assert all(set(text.split()) <= set(WORDS) for text in said)


def test_bad_names_and_questions(llava, tmp_path):
    with pytest.raises(BadArgument, match="hf:NAME"):
        open_answerer("blip")
    with pytest.raises(BadCheckpoint, match="could not be loaded"):
        open_answerer(f"hf:{tmp_path / 'none'}")
    answerer = open_answerer(f"hf:{llava[0]}")
    with pytest.raises(BadArgument, match="questions"):
        answerer.answer(torch.rand(2, 3, 16, 16), ["is it ?"])
    for wrong in ({"longest": 0}, {"prompt": "no place"}):
        with pytest.raises(BadArgument, match=next(iter(wrong))):
            VisualAnswerer(answerer.net, answerer.processor, "x", **wrong)
