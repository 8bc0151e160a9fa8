"""What a data sheet says of a concept: who rated, how well the ratings carry, which classes and images to look at.

Question 16 of "Datasheets for Datasets" (Gebru et al. 2021) asks whether a data set contains data that might be
offensive, insulting or threatening. The answer belongs beside the data as a list for people, not as a deletion.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kintsugi.core.files import write_json

if TYPE_CHECKING:
    from kintsugi.core.findings import Findings
    from kintsugi.data.imageset import ImageSet


def write_data_sheet(path: Path | str, data: ImageSet, findings: Findings, *, concept: str, raters: str = "") -> None:
    """Write what `prompt_tuning` found as JSON: the data by fingerprint, the concept, the classes, the review queue.

    Args:
        path: the file.
        data: what was audited.
        findings: of `prompt_tuning` on it.
        concept: what was rated, in words: "would offend a viewer".
        raters: who rated and when, in words; a sheet without it says that nobody told.
    """
    images = [row for row in findings.flagged if row.subject == "sample"]
    classes = [row for row in findings if row.subject == "class"]
    sheet = {
        "question": "Does the data set contain data that, if viewed directly, might be offensive?",
        "data": data.fingerprint,
        "images": len(data),
        "concept": concept,
        "raters": raters or "not told",
        "method": findings.card,
        "settings": dict(findings.params),
        "notes": list(findings.summary.notes),
        "answered": findings.summary.threshold is not None,
        "flagged": len(images),
        "classes": [{"class": row.ids[0], **row.evidence} for row in classes],
        "to be looked at": [{"id": row.ids[0], "p": row.score} for row in images],
    }
    write_json(path, sheet)
