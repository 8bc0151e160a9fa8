"""The report: the same content as page, JSON and Parquet; nothing gets out of place, whatever it is called."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pyarrow.parquet as pq
import pytest

from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.findings import Finding, Findings
from kintsugi.core.run import Run
from kintsugi.core.verdict import Effect, Verdict
from kintsugi.data.source import Problem
from kintsugi.report.content import FILES, Curve, GeneratedPair, Repeat, Report, Rung
from kintsugi.report.groups import split_effects
from kintsugi.report.page import HEADINGS, render, write_report
from kintsugi.report.pictures import thumbnail

EVIL = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Elements, attributes and visible text of a page, and whether every element is closed."""

    VOID = frozenset({"br", "hr", "img", "link", "meta"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_page_says_the_verdict_first(example):
    page = render(example)
    text = re.sub(r"\s+", " ", "".join(Page(page).text))
    word = example.verdict.word.capitalize()
    assert text.index(f"{word}.") < text.index("Worst group") < text.index("What happened to each group")
    worst = example.verdict.groups[0]
    assert f"from {worst.before:.1%} to {worst.after:.1%}" in text
    for name in HEADINGS.values():
        assert name in text
    for name in example.verdict.worse:
        assert text.count("got worse") >= 1
        for value in (part.split("=")[1] for part in name.split(", ")):
            assert value in text
    for command in example.repeat.commands:
        assert command in text


def test_page_is_well_formed_and_holds_everything_it_shows(example):
    page = Page(render(example))
    assert page.open == []
    assert "script" not in page.tags
    links = [value for tag, name, value in page.attributes if name in ("src", "href", "action", "data", "srcset")]
    assert all(
        value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,", "data:,")) for value in links
    )
    assert not any(name.startswith("on") or name == "style" for _, name, _ in page.attributes)
    assert all(value for tag, name, value in page.attributes if (tag, name) == ("img", "alt"))
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for value in links if value.startswith("#")} <= anchors
    assert "url(" not in "".join(page.text)
    assert "@import" not in "".join(page.text)


def test_policy_allows_this_style_sheet_and_nothing_else(example):
    page = render(example)
    style = page.split("<style>")[1].split("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(value for _, name, value in Page(page).attributes if name == "content" and "default-src" in value)
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digest}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert page.index("Content-Security-Policy") < page.index("<style>")


def hostile():
    """Every text a person or a file can give is an attack."""
    effect = Effect(EVIL, 10, 0.5, 0.4, -0.1, (-0.2, -0.01), 0.01)
    summary = Effect("worst group", 10, 0.5, 0.4, -0.1, (-0.2, -0.01))
    found = Finding("sample", (EVIL,), 0.9, True, EVIL, f"relabel:{EVIL}", EVIL, {EVIL: EVIL})
    return Report(
        title=EVIL,
        verdict=Verdict("worse", -0.1, (-0.2, -0.01), EVIL, (EVIL,), (summary, effect)),
        notes=(EVIL,),
        rungs=(Rung(EVIL, 1.0, 0.5, True, EVIL),),
        findings=(Findings.of([found, dataclasses.replace(found, subject="class")], EVIL, {EVIL: EVIL}),),
        generated=(GeneratedPair("", "", EVIL, 0.9, 0.1, 0.8, EVIL),),
        curves=(Curve(EVIL, EVIL, (0, 1), (1.0, float("nan"))), Curve(EVIL, "b", (0, 1), (1.0, 2.0))),
        repeat=Repeat((EVIL,), {EVIL: EVIL}, {EVIL: 1}, EVIL, {EVIL: EVIL}),
        problems=(Problem(EVIL, EVIL, EVIL, EVIL),),
    )


def test_names_with_markup_in_them_are_only_names(tmp_path):
    report = hostile()
    for made in (report, Report.load(Run(report.save(Run(tmp_path)).parent))):
        text = render(made)
        page = Page(text)
        assert page.open == []
        assert "script" not in page.tags
        assert "img" not in page.tags
        assert not any(name.startswith("on") for _, name, _ in page.attributes)
        assert "<script" not in text
        assert "".join(page.text).count("<script>alert('x')</script>") >= 15


def test_saved_and_loaded_it_is_the_same(example, tmp_path):
    run = Run(tmp_path / "run")
    page = example.save(run)
    assert page == run.path("report.html")
    assert {path.name for path in run.dir.iterdir()} == set(FILES)
    again = Report.load(run)
    assert again == dataclasses.replace(example, findings=again.findings)
    assert [each.rows for each in again.findings] == [each.rows for each in example.findings]
    assert [each.summary for each in again.findings] == [each.summary for each in example.findings]
    assert again.save(Run(tmp_path / "again")).read_bytes() == page.read_bytes()


def test_json_and_parquet_carry_the_content(example, tmp_path):
    run = Run(tmp_path)
    example.save(run)
    data = json.loads(run.path("report.json").read_text())
    assert data["line"] == str(example.verdict)
    assert data["verdict"]["word"] == example.verdict.word
    assert [rung["name"] for rung in data["rungs"] if rung["chosen"]] == ["config"]
    table = pq.read_table(run.path("findings.parquet"))
    assert len(table) == sum(len(each) for each in example.findings)
    assert pq.read_table(run.path("pictures.parquet")).column("id").to_pylist() == list(example.pictures)


def test_file_size_is_bounded(example, tmp_path):
    many = dataclasses.replace(
        example, generated=example.generated * 500, problems=example.problems * 1000, notes=("note",) * 3
    )
    for report in (example, many):
        page = write_report(report, tmp_path / "r.html").read_text()
        assert len(page) < 400_000
        assert page.count("<img") <= 2 * 24 * (len(example.findings) + 1)
    few = write_report(example, tmp_path / "few.html", per_check=2).read_text()
    assert few.count("<img") == 2 + 4 + 4
    assert "more in findings.parquet" in few


def test_hundreds_of_groups_stay_readable():
    groups = tuple(Effect(f"class {i}", 50, 0.5, 0.6, 0.1, (0.0, 0.2), 0.5) for i in range(300))
    page = render(Report("many", groups=groups))
    assert "Show 280 more groups" in page
    assert page.index("class 0") < page.index("<details>") < page.index("class 99")


def test_reports_without_a_verdict_or_anything_at_all():
    found = Findings.of([Finding("sample", ("a",), 0.9, True, "c", "drop", "why")], "near_duplicates")
    page = render(Report("An audit", findings=(found,)))
    assert "1 finding to look at" in page
    assert "no picture" not in page
    assert "there is no verdict" in page
    empty = render(Report("Nothing"))
    assert "Nothing was flagged" in empty
    assert Page(empty).open == []


def test_a_mend_without_a_better_repair_says_so_first():
    tried = (Rung("as it is", 0.0, 0.4, True), Rung("erm", 2.0, 0.4), Rung("config", 0.0, None, note="not tried"))
    page = render(Report("Mending", rungs=tried))
    assert "Not mended" in page
    assert "1 repair could be tried" in page


def test_suggestions_name_classes_and_groups_show_samples(tmp_path):
    label = Finding("sample", ("s",), 0.9, True, "label_error", "relabel:1", "labelled cat, looks like dog")
    group = Finding("group", ("class=cat, cluster=1",), 0.5, True, "g", "review", "class=cat, cluster=1: 10% right",
                    {"samples": ["s", "t", "gone"]})  # fmt: skip
    shots = {name: thumbnail(np.zeros((8, 8, 3), np.uint8)) for name in ("s", "t")}
    report = Report("t", findings=(Findings.of([label], "a"), Findings.of([group], "b")), pictures=shots,
                    classes=("cat", "dog"))  # fmt: skip
    page = render(report)
    assert "relabel → dog" in page
    assert page.count("<img") == 3
    assert page.count("class=cat, cluster=1") == 1  # the sentence names it; it is not said twice
    report.save(Run(tmp_path))
    assert Report.load(Run(tmp_path)).classes == ("cat", "dog")


PAID = Effect("average", 9, 0.8, 0.77, -0.03, (-0.04, 0.0))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Verdict("not proven", 0.0, (-0.1, 0.1), "r", (), ()), "a difference inside the noise is no difference"),
        (Verdict("worse", -0.2, (-0.3, -0.1), "r", ("a",), ()), "more than chance"),
        (
            Verdict("better", 0.2, (0.1, 0.3), "r", ("a", "b"), (Effect("worst group", 9, 0.1, 0.3, 0.2, (0.1, 0.3)),)),
            "But 2 groups got worse",
        ),
        (Verdict("better", 0.2, (0.1, 0.3), "r", (), (PAID,)), "the average paid 3.0 points for it, within what was"),
    ],
)
def test_the_verdict_in_words(verdict, words):
    page = render(Report("t", verdict))
    assert words in page
    assert f"<title>{verdict.word.capitalize()}: t</title>" in page


def test_a_group_that_is_called_average_is_a_group():
    summary = Effect("average", 10, 0.5, 0.5, 0.0, (0.0, 0.0))
    group = Effect("average", 5, 0.2, 0.5, 0.3, (0.1, 0.5), 0.5)
    assert split_effects((summary, group)) == (None, summary, (group,))


def test_bad_content_is_refused(example):
    with pytest.raises(BadArgument, match="more than once"):
        Report("t", findings=(Findings((), "a"), Findings((), "a")))
    with pytest.raises(BadData, match="neither PNG nor JPEG"):
        Report("t", pictures={"a": b"<svg>"})
    with pytest.raises(BadArgument, match="2 values for 1 steps"):
        Curve("p", "n", (0,), (1.0, 2.0))
    with pytest.raises(BadArgument, match="per_check"):
        write_report(example, "unused.html", per_check=0)


def test_broken_run_folders_get_a_clear_answer(example, tmp_path):
    run = Run(tmp_path)
    with pytest.raises(BadData, match="does not exist"):
        Report.load(run)
    example.save(run)
    whole = run.path("report.json").read_text()
    for text, words in (
        ("{", "not JSON"),
        ("[]", "not a report"),
        ('{"format": 1, "title": "t"}', "not a whole report"),
    ):
        run.path("report.json").write_text(text)
        with pytest.raises(BadData, match=words):
            Report.load(run)
    run.path("report.json").write_text(whole)
    run.path("pictures.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadData, match="not Parquet"):
        Report.load(run)


def test_repeat_names_the_versions_that_ran():
    import numpy

    how = Repeat.here("kintsugi demo", seeds={"data": 3}, data="abc", device="cpu")
    assert how.versions["numpy"] == numpy.__version__
    assert (how.commands, how.seeds, how.settings) == (("kintsugi demo",), {"data": 3}, {"device": "cpu"})
