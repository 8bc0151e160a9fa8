"""Train in folders named on standard input, slowly enough to be killed; prints every step.

Each training is a process forked from this one before torch has done anything, so that torch is imported once only.
"""

import os
import sys
import time

import torch
from training_nets import SmallNet, two_classes

from kintsugi.core.run import Run
from kintsugi.data.groups import Groups
from kintsugi.repair.augment.crop_flip import CropFlip
from kintsugi.repair.objective.group_dro import GroupDRO
from kintsugi.repair.sampling.group_balanced import GroupBalanced
from kintsugi.training.fit import fit
from kintsugi.training.grouping import with_groups
from kintsugi.training.hooks import EarlyStop
from kintsugi.training.settings import Training


class Tell:
    def on_step(self, loop):
        print(loop.step, flush=True)
        time.sleep(0.01)


def train(folder, hooks=()):
    data = two_classes(60)
    data = with_groups(data, Groups.of({"label": data.labels, "row": (data.labels * 0 + range(60)) // 40}))
    model = SmallNet(dropout=0.3, seed=1)
    how = Training(
        epochs=7,
        batch_size=8,
        lr=0.01,
        ema=0.9,
        accumulate=2,
        warmup=3,
        clip=1.0,
        checkpoint_every=4,
        log_every=3,
        device="cpu",
    )
    run = fit(
        model,
        data,
        GroupDRO(eta=0.1),
        how=how,
        sampler=GroupBalanced(),
        augment=CropFlip(pad=1),
        hooks=[EarlyStop("valid_loss", patience=50, mode="min"), *hooks],
        rng=3,
        run=Run(folder),
        valid=two_classes(20, seed=5),
    )
    return model, run


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in sys.stdin:  # each line names a folder to train in, in a process of its own
        child = os.fork()
        if not child:
            train(line.strip(), [Tell()])
            os._exit(0)
        print("pid", child, flush=True)
        _, status = os.waitpid(child, 0)
        print("exit", os.waitstatus_to_exitcode(status), flush=True)
