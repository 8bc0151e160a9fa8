"""Train in folders named on standard input, slowly enough to be killed."""

import torch
from killing import serve, tell
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
        tell(loop.step)


def train(folder):
    data = two_classes(60)
    data = with_groups(data, Groups.of({"label": data.labels, "row": (data.labels * 0 + range(60)) // 40}))
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
    fit(
        SmallNet(dropout=0.3, seed=1),
        data,
        GroupDRO(eta=0.1),
        how=how,
        sampler=GroupBalanced(),
        augment=CropFlip(pad=1),
        hooks=[EarlyStop("valid_loss", patience=50, mode="min"), Tell()],
        rng=3,
        run=Run(folder),
        valid=two_classes(20, seed=5),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve(train)
