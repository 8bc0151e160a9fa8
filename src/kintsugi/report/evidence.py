"""The sections below the verdict: repairs tried, findings, generated images, curves, problems, how to repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kintsugi.core.registry import entries
from kintsugi.report import svg
from kintsugi.report.markup import Markup, amount, duration, joined, percent, tag
from kintsugi.report.pictures import data_uri, shown, size_of

if TYPE_CHECKING:
    from kintsugi.core.findings import Finding, Findings
    from kintsugi.data.source import Problem
    from kintsugi.report.content import Curve, GeneratedPair, Repeat, Report, Rung


STRIP = 8  # samples of a group that are pictured


def title_of(card: str) -> str:
    """A method's name as a heading."""
    return card.replace("_", " ").capitalize() or "Findings"


def picture(content: Report, name: str, alt: str) -> Markup:
    """A picture of the report, or an empty frame that says that there is none."""
    held = content.pictures.get(name)
    if held is None:
        return tag("span", "no picture", class_="frame")
    width, height = size_of(held)
    return tag(
        "img",
        src=data_uri(held, name),
        alt=alt,
        width=width,
        height=height,
        loading="lazy",
        decoding="async",
        class_="pixels" if max(width, height) <= 40 else None,
    )


# ------------------------------------------------------------------------------------------------------- repairs


def rungs(tried: Sequence[Rung]) -> Markup | None:
    """The repairs tried, in order, with what each cost and how it did on the selection part."""
    if not tried:
        return None
    head = [("Repair", 1), ("Selection score", 2), ("Cost", 2), ("", 1)]
    dearest = max(each.seconds for each in tried) or 1.0
    rows = []
    for each in tried:
        score = "–" if each.score is None else percent(each.score)
        rows.append(
            tag(
                "tr",
                tag("th", each.name, tag("span", "chosen", class_="chip gold") if each.chosen else None, scope="row"),
                tag(
                    "td",
                    svg.bar(each.score, f"selection score {score}", "chosen" if each.chosen else "")
                    if each.score is not None
                    else None,
                    class_="drawn",
                ),
                tag("td", score, class_="number"),
                tag("td", svg.bar(each.seconds / dearest, "share of the dearest"), class_="drawn cost"),
                tag("td", duration(each.seconds), class_="number"),
                tag("td", each.note, class_="small note"),
                class_="chosen" if each.chosen else None,
            )
        )
    total = sum(each.seconds for each in tried)
    return joined(
        tag(
            "p",
            f"{amount(len(tried), 'repair')}, {duration(total)} in all.",
            class_="hint",
        ),
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", [tag("th", name, scope="col", colspan=span) for name, span in head])),
                tag("tbody", rows),
                class_="rungs",
            ),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="Repairs tried",
        ),
    )


# ------------------------------------------------------------------------------------------------------ findings


def estimated(findings: Findings) -> str:
    """What a check estimates in all, in words."""
    summary = findings.summary
    if summary.count is None:
        return f"of {amount(len(findings), 'row')}"
    words = f"about {summary.count:,.0f} estimated in all"
    if summary.interval is not None:
        words += f" ({summary.interval[0]:,.0f} to {summary.interval[1]:,.0f})"
    return words


def findings(content: Report, per_check: int) -> Markup | None:
    """Every check with its findings, the flagged ones pictured."""
    if not content.findings:
        return None
    return joined([_check(content, each, per_check) for each in content.findings])


def _check(content: Report, each: Findings, per_check: int) -> Markup:
    entry = entries().get(each.card)
    rows = shown(each, per_check)
    pictured = [
        row for row in rows if row.subject in ("sample", "pair") and any(n in content.pictures for n in row.ids)
    ]
    others = [row for row in rows if row not in pictured]
    left = len(each.flagged or each.rows) - len(rows)
    return tag(
        "article",
        tag(
            "h3",
            title_of(each.card),
            tag("span", f"{len(each.flagged):,} flagged", class_="chip" if each.flagged else "chip quiet"),
        ),
        tag("p", f"{_capital(entry.card.title)}. " if entry else None, _capital(estimated(each)), ".", class_="hint"),
        tag("ul", [tag("li", note) for note in each.summary.notes], class_="notes") if each.summary.notes else None,
        tag(
            "figure",
            svg.histogram([row.score for row in each.rows], each.summary.threshold),
            tag("figcaption", f"Scores of {amount(len(each), 'row')}; square-root heights."),
            class_="spread",
        )
        if len(each) >= 8
        else None,
        tag("ul", [_card(content, row) for row in pictured], class_="cards") if pictured else None,
        tag("ul", [_line(content, row) for row in others], class_="lines") if others else None,
        tag("p", f"{left:,} more in findings.parquet.", class_="hint") if left > 0 else None,
        tag("p", "Nothing was found.", class_="hint") if not rows else None,
        class_="check",
    )


def _card(content: Report, row: Finding) -> Markup:
    names = row.ids[:2]
    return tag(
        "li",
        tag(
            "div",
            [picture(content, name, f"image {name}") for name in names],
            class_="pair" if len(names) > 1 else "one",
        ),
        svg.bar(row.score, f"score {row.score:.2f}", "score"),
        tag("p", tag("b", f"{row.score:.2f}"), " ", _suggestion(content, row), class_="small"),
        tag("p", row.why, class_="why"),
        tag("p", [tag("span", name, class_="id", title=name) for name in names], class_="ids"),
    )


def _line(content: Report, row: Finding) -> Markup:
    names = ", ".join(row.ids[:3]) + (f" and {len(row.ids) - 3:,} more" if len(row.ids) > 3 else "")
    said = row.why.startswith(row.ids[:1])  # the sentence names it already
    samples = [name for name in row.evidence.get("samples", ()) if name in content.pictures][:STRIP]
    return tag(
        "li",
        svg.bar(row.score, f"score {row.score:.2f}", "score"),
        tag("span", tag("b", f"{row.score:.2f}"), " ", _suggestion(content, row), class_="small"),
        tag(
            "span",
            None if said else (tag("span", names, class_="id", title=", ".join(row.ids[:20])), " "),
            row.why,
            tag("span", [picture(content, name, f"image {name}") for name in samples], class_="strip")
            if samples
            else None,
            class_="why",
        ),
    )


def _suggestion(content: Report, row: Finding) -> Markup:
    """What to do, a class by its name."""
    action, _, value = row.suggestion.partition(":")
    if value.isdigit() and int(value) < len(content.classes):
        value = content.classes[int(value)]
    return tag("span", f"{action} → {value}" if value else action, class_="chip quiet")


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


# ----------------------------------------------------------------------------------------------------- generated


def generated(content: Report, most: int) -> Markup | None:
    """Generated images beside their sources, with what teacher and student say of them."""
    if not content.generated:
        return None
    pairs = content.generated
    teacher, student = (
        sum(values) / len(pairs) for values in zip(*((p.teacher, p.student) for p in pairs), strict=True)
    )
    story = (
        f"{amount(len(pairs), 'image')}. On average the teacher puts {percent(teacher)} in the target class and the "
        f"student, before it learned from them, {percent(student)}."
    )
    left = len(pairs) - most
    return joined(
        tag("p", story, class_="hint"),
        tag("ul", [_pair(content, each) for each in pairs[:most]], class_="cards generated"),
        tag("p", f"{left:,} more in report.json.", class_="hint") if left > 0 else None,
    )


def _pair(content: Report, each: GeneratedPair) -> Markup:
    said = [("teacher", each.teacher), ("student", each.student)]
    if each.student_after is not None:
        said.append(("repaired", each.student_after))
    source = picture(content, each.source, "source") if each.source else tag("span", "from noise", class_="frame")
    return tag(
        "li",
        tag(
            "div",
            source,
            tag("span", "→", class_="arrow", aria_hidden="true"),
            picture(content, each.generated, f"generated as {each.target}"),
            class_="pair",
        ),
        tag("p", "as ", tag("b", each.target), class_="small"),
        tag(
            "dl",
            [
                (
                    tag("dt", name),
                    tag(
                        "dd",
                        svg.bar(share, f"{name}: {percent(share)}", name),
                        tag("span", f"{100 * share:.0f}%"),
                    ),
                )
                for name, share in said
            ],
            class_="said",
        ),
        tag("p", each.note, class_="why") if each.note else None,
    )


# -------------------------------------------------------------------------------------- curves, problems, repeat


def curves(drawn: Sequence[Curve]) -> Markup | None:
    """One chart a panel."""
    if not drawn:
        return None
    panels: dict[str, list[Curve]] = {}
    for each in drawn:
        panels.setdefault(each.panel, []).append(each)
    return tag(
        "div",
        [
            tag(
                "figure",
                tag("figcaption", panel),
                svg.lines(panel, [(each.name, each.step, each.value) for each in members]),
                svg.legend([each.name for each in members]),
            )
            for panel, members in panels.items()
        ],
        class_="charts",
    )


def problems(recorded: Sequence[Problem]) -> Markup | None:
    """Images and rows that were left out, counted by reason, the first of each named."""
    if not recorded:
        return None
    counts = Counter(each.reason for each in recorded)
    most = max(counts.values())
    rows = []
    for reason, count in counts.most_common():
        first = [each for each in recorded if each.reason == reason][:5]
        rows.append(
            tag(
                "li",
                tag("b", reason, class_="reason"),
                svg.bar(count / most, f"{count} of {len(recorded)}"),
                tag("span", f"{count:,}", class_="number"),
                tag(
                    "details",
                    tag("summary", "which"),
                    tag(
                        "ul",
                        [
                            tag("li", tag("span", each.where, class_="id", title=each.where), _detail(each))
                            for each in first
                        ],
                    ),
                    tag("p", f"and {count - len(first):,} more", class_="hint") if count > len(first) else None,
                ),
            )
        )
    return joined(
        tag(
            "p",
            f"{amount(len(recorded), 'image or row', 'images and rows')} could not be used; all else was done.",
            class_="hint",
        ),
        tag("ul", rows, class_="problems"),
    )


def _detail(each: Problem) -> str:
    return f" {each.detail}" if each.detail else ""


def repeat(how: Repeat) -> Markup | None:
    """Commands, seeds, versions and the data's fingerprint."""
    tables: list[tuple[str, dict[str, Any]]] = [
        ("Seeds", dict(how.seeds)),
        ("Settings", dict(how.settings)),
        ("Versions", dict(how.versions)),
    ]
    shown_tables = [
        tag(
            "div",
            tag("h3", name),
            tag("dl", [(tag("dt", key), tag("dd", value)) for key, value in sorted(held.items())], class_="facts"),
        )
        for name, held in tables
        if held
    ]
    if not how.commands and not how.data and not shown_tables:
        return None
    return joined(
        tag("pre", tag("code", "\n".join(how.commands)), tabindex="0", aria_label="Commands") if how.commands else None,
        tag("p", "Data fingerprint ", tag("code", how.data), class_="fingerprint") if how.data else None,
        tag("div", shown_tables, class_="columns") if shown_tables else None,
    )
