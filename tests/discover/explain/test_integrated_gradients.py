"""Integrated gradients against completeness, the closed form of polynomials, and a plain loop."""

import pytest
import torch

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.randomness import torch_rng
from kintsugi.discover.explain.integrated_gradients import IntegratedGradients


class Plain:
    """Any function of images as a model."""

    bounds = (0.0, 1.0)

    def __init__(self, function, classes=2):
        self.function, self.classes = function, tuple(map(str, range(classes)))

    def __call__(self, image):
        return self.function(image)


def curved(classes=3, inputs=3 * 5 * 4):
    first = torch.randn(inputs, 16, generator=torch_rng(1), dtype=torch.float64) / 4
    second = torch.randn(16, classes, generator=torch_rng(2), dtype=torch.float64)
    return Plain(lambda image: torch.tanh(2 * image.flatten(1) @ first) @ second, classes)


def some(n=5):
    return torch.rand(n, 3, 5, 4, generator=torch_rng(0), dtype=torch.float64)


@pytest.mark.parametrize("baseline", ["black", "mean", "noise"])
@pytest.mark.parametrize("of", ["logit", "probability"])
def test_completeness(baseline, of):
    model, image, target = curved(), some(), torch.tensor([0, 1, 2, 1, 0])
    method = IntegratedGradients(baseline, steps=400, of=of)
    maps = method(model, image, target)

    def answer(images):
        logits = model(images)
        return (logits if of == "logit" else logits.softmax(1)).gather(1, target[:, None])[:, 0]

    start = method.start(image, model.bounds).expand_as(image)
    assert torch.allclose(maps.sum((1, 2)), answer(image) - answer(start), atol=1e-4)
    assert maps.abs().amax() > 1e-3


def test_a_cubic_has_its_closed_form():
    # F = sum w x^3 from black: the path integral of 3 w (a x)^2 x over a is w x^3 for each pixel.
    weight = torch.randn(3, 5, 4, generator=torch_rng(3), dtype=torch.float64)
    model = Plain(lambda image: torch.stack([(weight * image**3).sum((1, 2, 3)), image.sum((1, 2, 3))], 1))
    image = some()
    maps = IntegratedGradients(steps=500)(model, image, torch.zeros(5, dtype=torch.int64))
    assert torch.allclose(maps, (weight * image**3).sum(1), atol=1e-5)


def test_chunks_change_nothing_and_agree_with_a_plain_loop():
    model, image, target = curved(), some(), torch.tensor([0, 1, 2, 1, 0])
    one, two = (IntegratedGradients(steps=7, chunk=chunk)(model, image, target) for chunk in (1, 1000))
    assert torch.allclose(one, two, atol=1e-12)
    for row in range(len(image)):
        total = torch.zeros_like(image[row])
        for k in range(7):
            point = (image[row] * ((k + 0.5) / 7)).requires_grad_()
            total += torch.autograd.grad(model(point[None])[0, target[row]], point)[0] / 7
        assert torch.allclose(one[row], (image[row] * total).sum(0), atol=1e-12)


def test_what_the_answer_ignores_gets_no_credit():
    model = Plain(lambda image: torch.stack([image[..., :2].exp().sum((1, 2, 3)), image[..., 2:].sum((1, 2, 3))], 1))
    maps = IntegratedGradients()(model, some(), torch.zeros(5, dtype=torch.int64))
    assert not maps[..., 2:].any()
    assert maps[..., :2].all()


@pytest.mark.parametrize("wrong", [{"baseline": "white"}, {"of": "loss"}, {"steps": 0}, {"chunk": 0}])
def test_bad_parameters_are_refused_by_name(wrong):
    with pytest.raises(BadArgument, match=next(iter(wrong))):
        IntegratedGradients(**wrong)


def test_bad_input_is_refused():
    with pytest.raises(BadData, match="target"):
        IntegratedGradients()(curved(), some(), torch.tensor([0]))
    with pytest.raises(BadData, match="classes 0 to 3"):
        IntegratedGradients()(curved(), some(2), torch.tensor([0, 3]))
    broken = Plain(lambda image: torch.stack([image.sum((1, 2, 3)) * float("nan")] * 2, 1))
    with pytest.raises(BadData, match="finite"):
        IntegratedGradients()(broken, some(1), torch.tensor([0]))
