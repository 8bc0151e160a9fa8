"""Training leaves the sizes in the magnitude-preserving net alone, and not those in an ordinary one (card 80, c)."""

import pytest
import torch

from kintsugi.core.randomness import torch_rng
from kintsugi.generate.diffusion.plain_unet import PlainBlock, PlainUNet
from kintsugi.generate.diffusion.precondition import Denoiser, DenoisingLoss
from kintsugi.generate.diffusion.unet import Block, UNet
from kintsugi.prove.small import digits, whole
from kintsugi.training.fit import fit
from kintsugi.training.settings import Training

STEPS = 1500
SHAPE = {"widths": (16, 32), "blocks": (1, 1), "patch": 1, "embedding": 32}
RATES = {PlainUNet: 3e-3, UNet: 1e-2}  # what pixel_diffusion says suits each


def rms(x):
    return x.detach().square().mean().sqrt().item()


@torch.no_grad()
def noisy(model, batch, seed):
    clean, rng = batch.image * 2 - 1, torch_rng(seed, "noise")
    sigma = torch.exp(-0.8 + 1.4 * torch.randn(len(clean), generator=rng))
    noise = sigma.reshape(-1, 1, 1, 1) * torch.randn(clean.shape, generator=rng)
    return clean, sigma, model(clean + noise, sigma, model.embed(batch.label))


def magnitudes(model, batch):
    """Root-mean-square of every convolution's stored weight, and of every block's output."""
    weight = {name: rms(each) for name, each in model.named_parameters() if each.ndim == 4}
    out = {}
    hooks = [
        block.register_forward_hook(lambda _, __, y, name=name: out.__setitem__(name, rms(y)))
        for name, block in model.named_modules()
        if isinstance(block, Block | PlainBlock)
    ]
    noisy(model, batch, 0)
    for hook in hooks:
        hook.remove()
    return weight, out


def change(before, after):
    """The largest factor by which any of them grew or shrank; of those that were silent at the start, none."""
    return max(max(after[k] / v, v / after[k]) for k, v in before.items() if v > 1e-6)


def trained(net, train, batch, steps, seed):
    """Change of the stored weights, change of the activations, and loss on other digits (training's weighting)."""
    model = Denoiser(net(3, 10, **SHAPE, rng=torch_rng(seed, "weights")))
    before = magnitudes(model, batch)
    objective = DenoisingLoss(label_dropout=0.0, rng=torch_rng(seed, "uncertainty"))
    how = Training(steps=steps, batch_size=64, lr=RATES[net], warmup=20, optimizer="adam", device="cpu")
    fit(model, train, objective, how=how, rng=seed)
    after = magnitudes(model, batch)
    loss = 0.0
    for draw in range(4):
        clean, sigma, made = noisy(model, batch, draw)
        loss += float(((sigma**2 + 0.25) / (sigma * 0.5) ** 2 * (made - clean).square().mean((1, 2, 3))).mean()) / 4
    return change(before[0], after[0]), change(before[1], after[1]), loss


@pytest.fixture(scope="module")
def after():
    train, test = digits(100)
    batch = whole(test.select(range(300)))
    return {net: trained(net, train, batch, STEPS, seed=100) for net in (UNet, PlainUNet)}


@pytest.mark.slow
def test_stored_weights_keep_their_size(after):
    assert after[UNet][0] < 1.01
    assert after[PlainUNet][0] > 1.3


@pytest.mark.slow
def test_activations_change_far_less(after):
    assert after[UNet][1] < 2
    assert after[PlainUNet][1] > 2 * after[UNet][1]


@pytest.mark.slow
@pytest.mark.xfail(reason="measured 1.78: mp_sum keeps the size of uncorrelated branches only", strict=True)
def test_activations_keep_their_size_as_the_card_has_it(after):
    assert after[UNet][1] < 1.5


@pytest.mark.slow
@pytest.mark.xfail(reason="measured 0.325 against 0.284: at 1500 steps the ordinary net is ahead", strict=True)
def test_the_loss_on_other_digits_is_no_higher(after):
    assert after[UNet][2] <= after[PlainUNet][2]
