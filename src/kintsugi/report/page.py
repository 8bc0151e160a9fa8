"""A report as ONE self-contained HTML file: no script, no network, nothing that is not in the file.

The content security policy allows the page's own style sheet (by its hash) and pictures inside the file, and forbids
everything else; the content itself cannot become markup (:mod:`kintsugi.report.markup`).
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import require
from kintsugi.core.files import atomic
from kintsugi.report import evidence, svg
from kintsugi.report.groups import effects_table, group_name, split_effects
from kintsugi.report.markup import Markup, amount, joined, percent, points, tag
from kintsugi.report.pictures import PER_CHECK

if TYPE_CHECKING:
    from kintsugi.core.verdict import Effect, Verdict
    from kintsugi.report.content import Report

STYLE = Path(__file__).with_name("style.css")


def write_report(content: Report, path: Path | str, *, per_check: int = PER_CHECK) -> Path:
    """Write the page.

    Args:
        content: what it says.
        path: the file.
        per_check: findings shown a check, and generated images shown; bounds the file's size.

    Returns:
        The path.
    """
    require(per_check >= 1, "per_check", per_check, "a whole number from 1")
    target = Path(path)
    page = render(content, per_check)
    with atomic(target, "w") as stream:
        stream.write(page)
    return target


def render(content: Report, per_check: int = PER_CHECK) -> str:
    """The page as text."""
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    sections = [each for each in _sections(content, per_check) if each is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="kintsugi"),
        tag("link", rel="icon", href="data:,"),
        tag("title", _headline(content)),
        tag("style", Markup(style)),
    )
    body = tag(
        "body",
        tag(
            "a",
            "Skip to the findings" if content.verdict is None else "Skip to the groups",
            class_="skip",
            href="#main",
        ),
        _header(content, sections),
        tag("main", [section for _, _, section in sections], id="main"),
        tag(
            "footer",
            tag("p", "Made by Kintsugi. This page is one file: it loads nothing and runs no script."),
            tag("p", "The same content stands beside it as report.json, findings.parquet and pictures.parquet."),
        ),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _headline(content: Report) -> str:
    return f"{content.verdict.word.capitalize()}: {content.title}" if content.verdict else content.title


def _sections(content: Report, per_check: int) -> list[tuple[str, str, Markup] | None]:
    """Identifier, name in the navigation, and the section; None where there is nothing to say."""
    made: list[tuple[str, str, Markup | None]] = [
        ("groups", "Groups", effects_table(content.effects)),
        ("done", "What was done", _done(content)),
        ("tried", "What was tried", evidence.rungs(content.rungs)),
        ("found", "Findings", evidence.findings(content, per_check)),
        ("generated", "Generated images", evidence.generated(content, per_check)),
        ("training", "Training", evidence.curves(content.curves)),
        ("left-out", "Left out", evidence.problems(content.problems)),
        ("repeat", "Repeat it", evidence.repeat(content.repeat)),
        ("reading", "How to read it", _reading(content)),
    ]
    return [
        (name, label, tag("section", tag("h2", HEADINGS[name], id=f"{name}-title"), body, id=name))
        for name, label, body in made
        if body is not None
    ]


HEADINGS = {
    "groups": "What happened to each group",
    "done": "What was done",
    "tried": "What was tried",
    "found": "What was found",
    "generated": "Generated images beside their sources",
    "training": "Training",
    "left-out": "Images that were left out",
    "repeat": "How to repeat it",
    "reading": "How to read this page",
}


# ------------------------------------------------------------------------------------------------------ the head


def _header(content: Report, sections: Any) -> Markup:
    links = [tag("li", tag("a", label, href=f"#{name}")) for name, label, _ in sections]
    return tag(
        "header",
        tag("p", svg.mark(), tag("span", "Kintsugi"), tag("span", content.title, class_="title"), class_="brand"),
        _verdict(content) if content.verdict else _audit(content),
        svg.seam(),
        tag("nav", tag("ul", links), aria_label="Sections") if len(links) > 1 else None,
    )


def _verdict(content: Report) -> Markup:
    verdict = content.verdict
    assert verdict is not None
    kind = verdict.word.replace(" ", "-")
    worst, average, groups = split_effects(content.effects)
    tiles = [_tile("Worst group", worst), _tile("Average", average)]
    lost = tag(
        "div",
        tag("dt", "Groups that got worse"),
        tag("dd", tag("span", f"{len(verdict.worse)}", class_="big"), tag("span", f" of {len(groups)}", class_="of")),
        tag("dd", _named(verdict.worse), class_="small"),
        class_="tile down" if verdict.worse else "tile",
    )
    return tag(
        "div",
        tag("h1", tag("span", verdict.word.capitalize(), class_="word"), tag("span", ".", class_="stop"), class_=kind),
        tag("p", _sentence(verdict, worst, average), class_="lead"),
        tag("dl", tiles, lost if groups else None, class_="tiles"),
        class_="hero",
    )


def _sentence(verdict: Verdict, worst: Effect | None, average: Effect | None) -> Markup:
    """The verdict in words, for a stranger."""
    decided = next((e for e in (worst, average) if e is not None and e.interval == verdict.interval), None)
    low, high = (points(end) for end in verdict.interval)
    span = tag("span", f"95% interval {low} to {high}", class_="interval")
    what = "The worst group's accuracy" if decided is worst else "The average accuracy"
    if decided is None:
        story = joined("The deciding accuracy changed by ", tag("b", points(verdict.effect)), " points (", span, "). ")
    else:
        moved = "rose" if decided.after > decided.before else ("fell" if decided.after < decided.before else "stayed")
        ends = (
            joined("from ", tag("b", percent(decided.before)), " to ", tag("b", percent(decided.after)))
            if moved != "stayed"
            else joined("at ", tag("b", percent(decided.after)))
        )
        story = joined(what, f" {moved} ", ends, ": ", tag("b", points(verdict.effect)), " points (", span, "). ")
    paid = "the average did not pay for it"
    if average is not None and average.difference < 0:
        paid = f"the average paid {points(-average.difference)[1:]} points for it, within what was allowed"
    meaning = {
        "better": f"The interval lies above zero, so this is more than chance, and {paid}.",
        "worse": "The interval lies below zero, so this is more than chance.",
        "not proven": "This is not enough to call it better or worse: a difference inside the noise is no difference.",
    }[verdict.word]
    cost = None
    if verdict.word == "better" and verdict.worse:
        many = len(verdict.worse) > 1
        cost = f" But {amount(len(verdict.worse), 'group')} got worse; {'they stand' if many else 'it stands'} below."
    return joined(story, meaning, cost)


def _named(groups: tuple[str, ...]) -> Markup:
    """The groups that got worse, the first few by name."""
    if not groups:
        return joined("none beyond chance")
    rest = f"and {len(groups) - 3} more" if len(groups) > 3 else None
    return tag("ul", [tag("li", group_name(name)) for name in groups[:3]], tag("li", rest) if rest else None)


def _tile(name: str, effect: Effect | None) -> Markup | None:
    if effect is None:
        return None
    way = "up" if effect.interval[0] > 0 else ("down" if effect.interval[1] < 0 else "flat")
    return tag(
        "div",
        tag("dt", name),
        tag(
            "dd",
            tag("span", percent(effect.before), class_="from"),
            tag("span", " → ", class_="arrow", aria_label="to"),
            tag("span", percent(effect.after), class_="big"),
        ),
        tag("dd", svg.dumbbell(effect.before, effect.after)),
        tag(
            "dd",
            f"{points(effect.difference)} points ({points(effect.interval[0])} to {points(effect.interval[1])})",
            class_="small",
        ),
        class_=f"tile {way}",
    )


def _audit(content: Report) -> Markup:
    """The head of a report that compares nothing: an audit, or a mend that found no better repair."""
    flagged = sum(len(each.flagged) for each in content.findings)
    tiles = [
        tag(
            "div",
            tag("dt", evidence.title_of(each.card)),
            tag("dd", tag("span", f"{len(each.flagged):,}", class_="big"), tag("span", " flagged", class_="of")),
            tag("dd", evidence.estimated(each), class_="small"),
            class_="tile down" if each.flagged else "tile",
        )
        for each in content.findings[:6]
    ]
    words = f"{amount(flagged, 'finding')} to look at" if flagged else "Nothing was flagged"
    lead = f"{amount(len(content.findings), 'check')} ran. Nothing was compared, so there is no verdict."
    if content.rungs:
        done = sum(each.score is not None for each in content.rungs[1:])  # the first is the model that came in
        words = "Not mended"
        lead = (
            f"{amount(done, 'repair')} could be tried, and none was better on the selection part. The model is as it "
            f"was, the hold-out part stayed closed, and there are {amount(flagged, 'finding')} to look at."
        )
    return tag(
        "div",
        tag("h1", tag("span", words, class_="word"), tag("span", ".", class_="stop"), class_="audit"),
        tag("p", lead, class_="lead"),
        tag("dl", tiles, class_="tiles") if tiles else None,
        class_="hero",
    )


def _done(content: Report) -> Markup | None:
    rule = content.verdict.rule if content.verdict else ""
    if not content.notes and not rule:
        return None
    steps = tag("ol", [tag("li", note) for note in content.notes], class_="steps") if content.notes else None
    return joined(steps, tag("p", tag("b", "The rule. "), rule, class_="rule") if rule else None)


def _reading(content: Report) -> Markup:
    """The words a stranger needs, and only those that the page uses."""
    used = {
        "effects": content.effects,
        "findings": content.findings,
        "rungs": content.rungs,
        "generated": content.generated,
    }
    words = [pair for part, pairs in WORDS.items() if used[part] for pair in pairs]
    words = words or [("Report", "What the run recorded. Nothing was compared or checked in it.")]
    return tag("dl", [(tag("dt", word), tag("dd", meaning)) for word, meaning in words], class_="words")


WORDS = {
    "effects": (
        (
            "Group",
            "Images that share a class and an attribute: waterbirds on land. A good average can hide a failing group.",
        ),
        ("Worst group", "The lowest accuracy of any group. It counts as much however few images the group has."),
        ("Before and after", "Two classifiers' answers to the same images."),
        (
            "95% interval",
            "Where the true change may lie, given how few images there are; one that holds zero proves nothing.",
        ),
        (
            "Got worse",
            "More answers lost than gained, beyond chance: exact McNemar test, corrected for all groups, p < 0.05.",
        ),
    ),
    "findings": (
        ("Score", "From 0 (nothing wrong) to 1 (surely wrong), on the check's own scale."),
        ("Flagged", "Beyond the check's threshold. It is a suggestion until somebody accepts it."),
    ),
    "rungs": (("Selection score", "Measured on images kept for choosing, none of them among those of the verdict."),),
    "generated": (
        (
            "Confidence",
            "The probability a model gives the class. Useful are images the teacher is sure of, the student not.",
        ),
    ),
}
