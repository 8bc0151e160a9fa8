"""A folder of photographs as a person would have it, and a small model that has learned a little of it."""

import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from kintsugi.core.run import Run
from kintsugi.data.formats import open_data
from kintsugi.models.open import open_model
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM
from kintsugi.training.settings import Training


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Crops of two photographs in class folders, 40 a class."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, file in (("flower", "flower.jpg"), ("temple", "china.jpg")):
        (root / name).mkdir()
        image = load_sample_image(file)
        for number in range(40):
            top, left = rng.integers(image.shape[0] - 48), rng.integers(image.shape[1] - 48)
            Image.fromarray(image[top : top + 48, left : left + 48]).save(root / name / f"{number:02d}.jpg", quality=90)
    return root


@pytest.fixture(scope="session")
def few(photos, tmp_path_factory):
    """Twelve photographs a class."""
    root = tmp_path_factory.mktemp("few") / "data"
    for name in ("flower", "temple"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            shutil.copy(photos / name / f"{number:02d}.jpg", root / name)
    return root


@pytest.fixture(scope="session")
def weights(photos, tmp_path_factory):
    """Weights of small:cnn trained for a moment on the photographs."""
    data = open_data(photos)
    model = open_model("small:cnn", data_classes=data.classes)
    run = Run(tmp_path_factory.mktemp("model"))
    fit(model, data, ERM(), how=Training(epochs=4, batch_size=16, lr=3e-3, device="cpu"), run=run)
    return run.save_weights(model.net.state_dict(), "net.safetensors")
