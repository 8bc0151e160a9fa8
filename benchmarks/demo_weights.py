"""Make the weights that ship with the demo: a teacher and a generator that never saw the demo's student data or tests.

    python benchmarks/demo_weights.py [--out src/kintsugi/api/weights]

The teacher learns from a pool in which all four groups are as large; the generator's pool holds the student's missing
groups at 5%. Both use only the pool part of the digits and of the photographs. The same weights come out on the same
machine; other processors round differently in the last bits. About four minutes on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from kintsugi.core.files import write_json
from kintsugi.core.progress import shown
from kintsugi.core.randomness import derive, torch_rng
from kintsugi.core.run import Run
from kintsugi.generate.diffusion.pixel_diffusion import PixelDiffusion
from kintsugi.models.open import open_model
from kintsugi.prove.bench import Bench, Settings
from kintsugi.prove.worlds import digits
from kintsugi.training.fit import fit
from kintsugi.training.objective.erm import ERM

SEED = 1000  # far from the seeds of trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("src/kintsugi/api/weights"))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    world, settings = digits(deal=0), Settings()
    how = Bench(world, "valid", settings).training(settings.teacher_steps, warmup=settings.teacher_steps // 10)
    with shown():
        teacher = open_model("small:cnn", data_classes=world.classes, seed=SEED, width=settings.teacher_width)
        pool = world.pool(settings.pool, 0.5, derive(SEED, "teacher pool") % 2**31)
        fit(teacher, pool, ERM(), how=how, rng=SEED)
        run = Run(out / "teacher")
        write_json(run.path("config.json"), {"model": teacher.describe(), "made by": "benchmarks/demo_weights.py"})
        run.save_weights(teacher.state_dict())
        generator = PixelDiffusion(size=world.size, steps=settings.generator_steps, label_dropout=0.0, device="cpu")
        generator.fit(world.pool(settings.pool, 0.05, derive(SEED, "pool") % 2**31), rng=torch_rng(SEED, "generator"))
        generator.save(out / "generator")
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    main()
