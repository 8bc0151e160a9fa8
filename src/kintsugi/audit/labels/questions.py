"""Questions that a label answers: from a template for each class, from a table of attributes, or given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kintsugi.core.errors import BadArgument, require
from kintsugi.models.classmap import spoken

YES, NO = "yes", "no"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


@dataclass(frozen=True, slots=True)
class Question:
    """One question about an image.

    Attributes:
        text: as it is asked.
        expected: the answer if the label is right: ``yes``, ``no``, or words of which the answer must hold one.
    """

    text: str
    expected: str | tuple[str, ...] = YES

    def __post_init__(self) -> None:
        require(bool(self.text.strip()), "text", self.text, "a question")
        words = (self.expected,) if isinstance(self.expected, str) else self.expected
        require(bool(words) and all(words), "expected", self.expected, "yes, no, or words the answer must hold")

    def right(self, answer: str) -> bool | None:
        """Whether the answer is the one expected; None where there is none to be had.

        Of a yes-or-no question the first word alone counts: "not sure" is neither, though "no" stands in it.
        """
        words = [word.lower() for word in _WORD.findall(answer)]
        if self.expected in (YES, NO):
            first = words[0] if words else ""
            return first == self.expected if first in (YES, NO) else None
        if not words:
            return None
        wanted = (self.expected,) if isinstance(self.expected, str) else self.expected
        said = f" {' '.join(words)} "
        return any(f" {' '.join(w.lower() for w in _WORD.findall(phrase))} " in said for phrase in wanted)


class QuestionSource(Protocol):
    """Makes the questions of a label, once a class."""

    def __call__(self, label: str, classes: Sequence[str]) -> Sequence[Question]:
        """The questions to ask about an image labelled ``label``."""


@dataclass(frozen=True)
class Templates:
    """Asks what each class name says.

    Args:
        table: attributes of each class, as questions to which the label's answer is yes; classes may be missing.
        template: the question whether an image shows a class, with one ``{}`` for its name.
        others: so many other classes are asked about as well, expecting no: a model that says yes to everything must
            not be taken for an honest one. They are spread evenly over the class list.
    """

    table: Mapping[str, Sequence[str]] | None = None
    template: str = "Does this image show a {}? Answer yes or no."
    others: int = 4

    def __post_init__(self) -> None:
        require(self.template.count("{}") == 1, "template", self.template, "a question with one {} for the class")
        require(self.others >= 0, "others", self.others, "0 or more")
        if isinstance(self.table, Mapping):
            for name, asked in self.table.items():
                require(not isinstance(asked, str), "table", {name: asked}, "a list of questions for each class")

    def __call__(self, label: str, classes: Sequence[str]) -> list[Question]:
        """Attributes of the label, the label itself, and other classes."""
        unknown = sorted(set(self.table or {}) - set(classes))
        if unknown:
            raise BadArgument(f"table has questions for {unknown[0]!r}.", f"Known: {', '.join(classes[:20])}.")
        own, count = list(classes).index(label), len(classes)
        asked = [Question(text) for text in (self.table or {}).get(label, ())]
        asked.append(Question(self.template.format(spoken(label))))
        some = min(self.others, count - 1)
        others = [(own + 1 + k * (count - 1) // some) % count for k in range(some)]
        return asked + [Question(self.template.format(spoken(classes[k])), NO) for k in others]
