"""Every form of the objective against its formula in float64, and where its gradient dies."""

import pytest
import torch

from kintsugi.core.errors import BadArgument
from kintsugi.generate.guidance import FORMS, ConfidenceGuidance


class Says:
    """A model whose logits are the image's first pixels."""

    classes = ("a", "b", "c")
    bounds = (0.0, 1.0)

    def __init__(self, row):
        self.row = row

    def __call__(self, image):
        return image[:, 0, self.row, :3]

    def features(self, image, at=None):
        return image.flatten(1)


LOGITS = torch.tensor([[[2.0, 0.5, -1.0], [0.3, 1.0, 0.2]], [[-1.0, 0.0, 3.0], [4.0, 0.0, 1.0]]], dtype=torch.float64)
IMAGE, LABEL = LOGITS[:, None], torch.tensor([0, 2])


def expected(form, gamma):
    t, f = (LOGITS[:, row].softmax(1)[torch.arange(2), LABEL] for row in (0, 1))
    margin = []
    for row in (0, 1):
        z = LOGITS[:, row]
        other = torch.stack([z[i][[k for k in range(3) if k != y]].max() for i, y in enumerate(LABEL.tolist())])
        margin.append(z[torch.arange(2), LABEL] - other)
    return {
        "product": (t * (1 - f)) ** gamma,
        "sum": t**gamma + (1 - f) ** gamma,
        "log": gamma * (t.log() + (1 - f).log()),
        "difference": t - f,
        "log_ratio": t.log() - f.log(),
        "margin": margin[0] - margin[1],
        "teacher": t**gamma,
        "student": (1 - f) ** gamma,
    }[form]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_forms(form, gamma):
    if gamma != 1 and form in ("difference", "log_ratio", "margin"):
        with pytest.raises(BadArgument, match="gamma"):
            ConfidenceGuidance(Says(0), Says(1), gamma, form)
        return
    objective = ConfidenceGuidance(Says(0), Says(1), gamma, form)
    torch.testing.assert_close(objective(IMAGE, LABEL), expected(form, gamma))
    assert torch.autograd.gradcheck(lambda image: objective(image, LABEL), IMAGE.clone().requires_grad_())


def test_confidence():
    t, f = ConfidenceGuidance(Says(0), Says(1)).confidence(IMAGE, LABEL)
    torch.testing.assert_close(t, LOGITS[:, 0].softmax(1)[[0, 1], LABEL])
    torch.testing.assert_close(f, LOGITS[:, 1].softmax(1)[[0, 1], LABEL])


def gradient(form, gamma, sure):
    """Relative size of the student's logit gradient when it is ``sure`` of the class, in float32."""
    image = torch.tensor([[[[1.0, 0.0, 0.0], [sure, 0.0, 0.0]]]], requires_grad=True)
    objective = ConfidenceGuidance(Says(0), Says(1), gamma, form)
    return torch.autograd.grad(objective(image, torch.tensor([0])).sum(), image)[0][0, 0, 1, 0].item()


def test_an_exponent_above_one_starves_the_student():
    assert abs(gradient("sum", 2.0, 8.0)) < 0.01 * abs(gradient("sum", 1.0, 8.0))
    assert abs(gradient("log", 1.0, 8.0)) > 0.9


def test_the_student_keeps_its_gradient_where_one_minus_p_rounds_to_zero():
    assert 1 - torch.tensor([25.0, 0.0, 0.0]).softmax(0)[0] == 0
    assert gradient("product", 1.0, 25.0) < 0
    assert gradient("log", 1.0, 25.0) == pytest.approx(-1, abs=1e-3)


def test_bad_settings_are_refused():
    other = Says(1)
    other.classes = ("c", "b", "a")
    for name, args in {"form": (Says(1), 1.0, "mean"), "gamma": (Says(1), 0.0, "sum"), "student": (other,)}.items():
        with pytest.raises(BadArgument, match=name):
            ConfidenceGuidance(Says(0), *args)
