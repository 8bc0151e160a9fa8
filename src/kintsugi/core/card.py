"""A method's card: what it is and where it comes from, in literals that are read without importing the method."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kintsugi.core.errors import BadArgument

# Where each kind of method lives, below `kintsugi`. What a method returns decides its kind.
HOMES: dict[str, tuple[str, ...]] = {
    "auditor": ("audit",),
    "corruption": ("stress/corrupt",),
    "attack": ("stress/attack",),
    "verifier": ("stress/verify",),
    "bias": ("stress/bias",),
    "discoverer": ("discover/spurious", "discover/slices"),
    "explainer": ("discover/explain",),
    "objective": ("training/objective", "repair/objective", "repair/distill"),
    "sampler": ("training/sampling", "repair/sampling"),
    "augment": ("repair/augment",),
    "posthoc": ("repair/posthoc",),
    "generator": ("generate",),
    "detector": ("detect",),
    "metric": ("metrics",),
    "recipe": ("recipes",),
    "study": ("prove/studies",),
}
KINDS = tuple(HOMES)
STATUSES = ("experimental", "proven", "not proven", "baseline")


@dataclass(frozen=True, slots=True)
class Card:
    """What a method is. Every method's file holds one, literally: ``CARD = Card(name="fgsm", ...)``.

    Attributes:
        name: the file's name and the name used on the command line, in snake case.
        kind: one of :data:`KINDS`.
        title: one line saying what it does, for the catalogue and report captions.
        paper: authors, title, year and identifier of the source.
        card: number of the system in the plan, 0 for a baseline that belongs to none.
        code: repository of the official code, if any.
        needs: extras of ``kintsugi-vision`` it needs (``"generate"``), or capabilities (``"group labels"``).
        uses: names of other methods it is built on.
        status: ``experimental`` until evidence is committed, then what the evidence says; ``baseline`` for what others
            are measured against, which promises nothing that could be proven.
        settings: further settings of its trial, such as other data, with what their evidence says:
            ``(("photos", "proven"),)``.
    """

    name: str
    kind: str
    title: str
    paper: str
    card: int
    code: str = ""
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    status: str = "experimental"
    settings: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in HOMES:
            raise BadArgument.of("kind", self.kind, "one of " + ", ".join(KINDS))
        if self.status not in STATUSES:
            raise BadArgument.of("status", self.status, "one of " + ", ".join(STATUSES))
        for name, verdict in self.settings:
            if verdict not in ("proven", "not proven"):
                raise BadArgument.of("settings", (name, verdict), "a setting with 'proven' or 'not proven'")
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise BadArgument.of("name", self.name, "a snake_case name")

    def as_dict(self) -> dict[str, object]:
        """The card as plain data, for JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
