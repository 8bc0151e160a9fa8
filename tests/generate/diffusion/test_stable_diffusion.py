"""A tiny random Stable Diffusion pipeline against an independent chain written with diffusers' own scheduler step."""

import json

import pytest
import torch

from kintsugi.core.errors import BadArgument, BadCheckpoint
from kintsugi.core.randomness import torch_rng
from kintsugi.generate.cutouts import Cutouts
from kintsugi.generate.diffusion.stable_diffusion import StableDiffusion
from kintsugi.generate.guidance import ConfidenceGuidance
from kintsugi.generate.guided import guided_optimise
from kintsugi.models.frozen import frozen

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

CLASSES = ("cat", "dog")
LABEL = torch.tensor([0, 1])
STEPS, SCALE = 5, 3.0


def tokenizer(folder):
    words = ["a", "photograph", "of", "cat", "dog"]
    pieces = [*map(chr, range(97, 123)), *(f"{chr(k)}</w>" for k in range(97, 123))]
    merges, known = [], set(pieces)
    for word in words:
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            merges.append((parts[0], parts[1]))
            parts = ["".join(parts[:2]), *parts[2:]]
            known.add(parts[0])
    vocabulary = {token: n for n, token in enumerate([*sorted(known), "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    unique = list(dict.fromkeys(merges))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(f"{a} {b}" for a, b in unique)]))
    return transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8)


def redraw(module, seed):
    """Weights from a passed stream; constructors only know the global one."""
    rng = torch_rng(seed)
    with torch.no_grad():
        for name, weight in sorted(module.named_parameters()):
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=rng) / weight[0].numel() ** 0.5)
            else:
                weight.copy_(torch.full_like(weight, float(name.endswith("weight"))))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    state = torch.get_rng_state()
    words = tokenizer(tmp_path_factory.mktemp("tokens"))
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
        norm_num_groups=4, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16, attention_head_dim=4,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=16,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    text = transformers.CLIPTextModel(
        transformers.CLIPTextConfig(
            vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=8, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        )
    )  # fmt: skip
    for seed, module in enumerate((unet, vae, text)):
        redraw(module, seed)
    torch.set_rng_state(state)
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    return diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=words, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def generator(pipeline, **options):
    return StableDiffusion(pipeline, CLASSES, **{"steps": STEPS, "guidance_scale": SCALE, **options})


def plain_chain(pipeline, state, prediction="epsilon"):
    """The same images, written step by step with diffusers' scheduler: the independent derivation."""
    scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, prediction_type=prediction)
    scheduler.set_timesteps(STEPS)

    def words(texts):
        ids = pipeline.tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt").input_ids
        return pipeline.text_encoder(ids).last_hidden_state

    text = words([f"a photograph of a {CLASSES[k]}" for k in LABEL])
    null = words(["", ""])
    z, images = state["latent"], []
    for number, t in enumerate(scheduler.timesteps):
        with_text = pipeline.unet(z, t, encoder_hidden_states=text + state["condition"][:, number]).sample
        without = pipeline.unet(z, t, encoder_hidden_states=null + state["null"][:, number]).sample
        out = scheduler.step(without + SCALE * (with_text - without), t, z)
        z = out.prev_sample
        picture = pipeline.vae.decode(out.pred_original_sample / pipeline.vae.config.scaling_factor).sample
        images.append(((picture + 1) / 2).clamp(0, 1))
    return torch.stack(images)


NAMES = ("latent", "condition", "null")


def start(made, seed=0):
    state = made.init_state(LABEL, torch_rng(seed))
    with torch.no_grad():  # deltas that are not zero, so that each is seen to land where it should
        for name in ("condition", "null"):
            state[name].copy_(0.1 * torch.randn(state[name].shape, generator=torch_rng(seed, name)))
    return state


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_images_and_gradients_equal_the_plain_chain(pipeline, prediction):
    before = pipeline.scheduler
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(before.config, prediction_type=prediction)
    try:
        made = generator(pipeline, checkpointed=False)
    finally:
        pipeline.scheduler = before
    state = start(made)
    ours, theirs = made.decode(state, LABEL, last=3), plain_chain(pipeline, state, prediction)[-3:]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert ours.std() > 0.05
    weight = torch.randn(ours.shape, generator=torch_rng(5))
    for name, a, b in zip(
        NAMES,
        *(torch.autograd.grad((x * weight).sum(), [state[n] for n in NAMES]) for x in (ours, theirs)),
        strict=True,
    ):
        assert b.abs().max() > 0, name
        assert (a - b).abs().max() < 1e-4 * b.abs().max(), name


def test_gradients_equal_with_and_without_checkpointing(pipeline):
    found = []
    for flag in (True, False):
        made = generator(pipeline, checkpointed=flag)
        state = start(made)
        image = made.decode(state, LABEL, last=3)
        found.append((image.detach(), *torch.autograd.grad((image**2).sum(), [state[n] for n in NAMES])))
    for again, plain in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-6, atol=1e-7)


def test_checkpointing_keeps_less(pipeline):
    kept = []
    for flag in (True, False):
        made, sizes = generator(pipeline, checkpointed=flag), []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            made.decode(start(made), LABEL)
        kept.append(sum(sizes))
    assert kept[0] < 0.2 * kept[1]


class Judge(torch.nn.Module):
    """A random linear classifier of images."""

    classes = CLASSES
    bounds = (0.0, 1.0)

    def __init__(self, seed):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(3 * 16 * 16, 2, generator=torch_rng(seed)) / 4)

    def forward(self, image):
        return (image - 0.5).flatten(1) @ self.weight

    def features(self, image, at=None):
        return image.flatten(1)


def test_guidance_raises_the_objective(pipeline):
    made = generator(pipeline, steps=4)
    objective = ConfidenceGuidance(Judge(1), Judge(2), form="difference")
    with frozen(*objective.models()):
        found = guided_optimise(made, LABEL, objective, steps=6, lr={"latent": 0.05, "condition": 0.05, "null": 0.05},
                                cutouts=Cutouts(4), batch_size=1)  # fmt: skip
    assert (found.score[:, -1] > found.score[:, 0] + 0.05).all()
    assert found.image.shape == (2, 3, 16, 16)


def test_norm_kept_and_samples_repeat(pipeline):
    made = generator(pipeline)
    state = start(made)
    with torch.no_grad():
        state["latent"].mul_(2.0)
    made.project(state)
    torch.testing.assert_close(state["latent"].flatten(1).norm(dim=1), state["latent_norm"])
    assert torch.equal(made.sample(2, LABEL, torch_rng(1)), made.sample(2, LABEL, torch_rng(1)))
    assert all(tensor.is_leaf for tensor in state.values())


def test_inversion_leads_back_to_the_encoded_image(pipeline):
    import copy

    calm = copy.copy(pipeline)
    calm.unet = copy.deepcopy(pipeline.unet)
    with torch.no_grad():  # a random network is no contraction; a trained one's steps are small
        calm.unet.conv_out.weight.mul_(0.02)
    made = generator(calm, inversion=20)
    image = made.sample(2, LABEL, torch_rng(4))
    state = made.init_state(LABEL, torch_rng(0), image)
    with torch.no_grad():
        latent = pipeline.vae.encode(image * 2 - 1).latent_dist.mean
        encoded = (pipeline.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1)
        back = made.decode(state, LABEL)[-1]
    assert (back - encoded).abs().mean() < 0.005 < (made.sample(2, LABEL, torch_rng(7)) - encoded).abs().mean()


def test_loads_a_folder_of_safetensors_and_nothing_else(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "whole", safe_serialization=True)
    made = StableDiffusion(tmp_path / "whole", CLASSES, steps=STEPS)
    assert torch.equal(made.sample(1, LABEL[:1], torch_rng(0)), generator(pipeline).sample(1, LABEL[:1], torch_rng(0)))
    pipeline.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    for folder in ("pickled", "nowhere"):
        with pytest.raises(BadCheckpoint, match=folder):
            StableDiffusion(tmp_path / folder, CLASSES)


@pytest.mark.parametrize(
    "bad",
    [{"prompt": "a cat"}, {"steps": 1}, {"guidance_scale": 1.0}, {"size": 17}, {"inversion": 0}],
)
def test_bad_settings_are_refused(pipeline, bad):
    with pytest.raises(BadArgument, match=next(iter(bad))):
        generator(pipeline, **bad)


def test_is_not_trained_here(pipeline):
    with pytest.raises(BadArgument, match="fine-tuned"):
        generator(pipeline).fit(None, rng=torch_rng(0))
    with pytest.raises(BadArgument, match="unet"):
        StableDiffusion(object(), CLASSES)
