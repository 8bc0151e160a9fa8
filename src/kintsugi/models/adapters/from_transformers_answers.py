"""transformers' vision-language models as answerers: a question goes in with an image, words come out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from kintsugi.core.errors import require
from kintsugi.core.optional import need
from kintsugi.models.adapters.opened import from_hub


class VisualAnswerer(nn.Module):
    """A vision-language model that answers by its most probable words.

    Args:
        net: a transformers model with ``generate``.
        processor: its processor of images and text.
        name: for reports.
        longest: new tokens an answer may have.
        prompt: how a question is put, with one ``{}``; a model with a chat template is asked by that one besides.
    """

    def __init__(self, net: Any, processor: Any, name: str, *, longest: int = 10, prompt: str = "{}") -> None:
        super().__init__()
        require(longest >= 1, "longest", longest, "at least 1 token")
        require(prompt.count("{}") == 1, "prompt", prompt, "text with one {} for the question")
        self.net, self.processor, self.name, self.longest, self.prompt = net, processor, name, longest, prompt
        tokenizer = getattr(processor, "tokenizer", None)
        if tokenizer is not None:
            tokenizer.padding_side = "left"  # words are added on the right
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token

    @torch.no_grad()
    def answer(self, image: torch.Tensor, questions: Sequence[str]) -> list[str]:
        """``[B, C, H, W]`` in 0..1 and a question for each image to B answers."""
        require(len(image) == len(questions), "questions", len(questions), f"one for each of the {len(image)} images")
        from torchvision.transforms.functional import to_pil_image

        pictures = [to_pil_image(one.clamp(0, 1).cpu()) for one in image]
        texts = [self._put(question) for question in questions]
        given = self.processor(images=self._nested(pictures), text=texts, padding=True, return_tensors="pt")
        first = next(self.net.parameters())
        moved = {
            name: value.to(first.device, first.dtype) if value.is_floating_point() else value.to(first.device)
            for name, value in given.items()
        }
        made = self.net.generate(**moved, max_new_tokens=self.longest, do_sample=False)
        asked = moved["input_ids"]
        # Models that only decode return the question before the answer, encoder-decoders the answer alone.
        if made.shape[1] >= asked.shape[1] and torch.equal(made[:, : asked.shape[1]], asked):
            made = made[:, asked.shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(made, skip_special_tokens=True)]

    def _put(self, question: str) -> str:
        text = self.prompt.format(question)
        if getattr(self.processor, "chat_template", None) is None:
            return text
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
        put: str = self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        return put

    def _nested(self, pictures: list[Any]) -> list[Any]:
        """Chat models take a list of images for each question."""
        return [[one] for one in pictures] if getattr(self.processor, "chat_template", None) is not None else pictures


def open_answerer(spec: str, *, device: str | torch.device = "cpu", longest: int = 10, prompt: str = "{}") -> Any:
    """Open ``hf:NAME_OR_DIR``. Code that comes with a checkpoint is never run; a name on the hub is downloaded once.

    Args:
        spec: a repository of the hub, or a folder written by ``save_pretrained``, after ``hf:``.
        device: where to put it.
        longest: new tokens an answer may have.
        prompt: how a question is put, with one ``{}``: ``Question: {} Answer:``.

    Raises:
        BadCheckpoint: there is no such model, or it answers no questions.
        MissingDependency: transformers is not installed.
    """
    library = need("transformers", "models")
    kind, _, name = spec.partition(":")
    require(kind == "hf" and bool(name), "spec", spec, "hf:NAME or hf:FOLDER")
    with from_hub(spec):
        config = library.AutoConfig.from_pretrained(name, trust_remote_code=False)
        processor = library.AutoProcessor.from_pretrained(name, trust_remote_code=False)
        # The checkpoint says whether it was trained to answer or to go on with a text.
        answers = any("QuestionAnswering" in kind for kind in config.architectures or ())
        auto = library.AutoModelForVisualQuestionAnswering if answers else library.AutoModelForImageTextToText
        net = auto.from_pretrained(name, trust_remote_code=False)
    return VisualAnswerer(net.eval(), processor, spec, longest=longest, prompt=prompt).to(device)
