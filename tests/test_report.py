"""The pictures and the HTML report: self-contained, escaped, honest about plaintext, in two languages."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from fedbank.errors import UsageError
from fedbank.models.evaluation import evaluate
from fedbank.models.model_card import Approval, ModelCard
from fedbank.party import pictures
from fedbank.party.report import (
    TEXTS,
    DataFacts,
    Disclosed,
    ModelSummary,
    ReportContent,
    Traffic,
    write_report,
)
from fedbank.party.steps import Step

NASTY = "<script>alert('$x^2$ & \"y\"')</script>"


def evaluations(probabilities=True):
    random = np.random.default_rng(8)
    labels = (random.random(1500) < 0.2).astype(int)
    found = {}
    for name, gap in (("bank", 0.4), ("regulator", 1.2), ("together", 2.4)):
        scores = gap * (random.normal(size=1500) + gap * labels) - gap**2 / 2 - 1.4
        scores = 1 / (1 + np.exp(-scores)) if probabilities else scores
        found[name] = evaluate(labels, scores, draws=50, probabilities=probabilities)
    return found


EVALUATIONS = evaluations()
TRAFFIC = {"MaskedPoints": (1_500_000, 1_400_000), "Histograms": (0, 22_000_000), "Hello": (210, 198)}
STEPS = {"matching": (6.2, 5.8), "boosting": (212.5, 380.0)}
FULL = ReportContent(
    title="Foreign-exchange violations",
    party="Regulator of Examples",
    role="active",
    peers=("Example Bank", "Second Bank"),
    job="forex-risk",
    job_hash="9f2c41d8a7b35e60c1d2e3f4a5b6c7d8",
    started="2025-03-04 10:12:33",
    ended="2025-03-04 10:16:15",
    engine=(("scheme", "Paillier"), ("key bits", "3072"), ("estimated security bits", "128"), ("chunks", "16")),
    data=DataFacts(1600, {"check digit wrong": 31, "duplicate": 12}, 1500, {"train": 1000, "test": 500}),
    evaluations=EVALUATIONS,
    stability={"test": 0.004, "out of time": 0.132, "new ring": 0.4},
    disclosed=(Disclosed("matching", "both", "which of their own people the other holds", "1,500 people"),),
    traffic=(
        Traffic("MaskedPoints", "sent", 3, 1_500_000),
        Traffic("MaskedPoints", "received", 3, 1_400_000),
        Traffic("Histograms", "received", 44, 22_000_000),
    ),
    steps=(Step("matching", 6.2, 5.8), Step("boosting", 212.5, 380.0)),
    model=ModelSummary(100, 5, (("own splits", "388"),), {"purchases": 812.0, "online share": 0.0}),
    card=ModelCard(
        model="forex-risk",
        intended_use="To choose whom to examine first; never to refuse a service.",
        population="People with a settlement in 2024.",
        observation_window="2023",
        performance_window="2024",
        samples=(("train", 1000, 130),),
        scheme=(("scheme", "hint"),),
        disclosures=("Points per bin are opened to their owner.",),
        limits=("Not for companies.",),
        approvals=(Approval("A. Example", "model risk", "2025-03-01"),),
    ),
    notes=("Synthetic people.",),
)


class Page(HTMLParser):
    """Tags with their attributes, the visible text, and whether every tag was closed."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr"})

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        self.close()
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)


def render(folder, content=FULL, **changes):
    return write_report(folder, dataclasses.replace(content, **changes)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return render(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chinese(tmp_path_factory):
    return render(tmp_path_factory.mktemp("chinese"), language="zh", plaintext=True, party="示范分局")


def test_report_is_one_file_that_needs_nothing(html):
    page = Page(html)
    assert not page.open
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "image", "foreignobject"}
    )
    assert "http://" not in html and "https://" not in html
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("href", "src", "xlink:href")]
    assert links and all(link.startswith("#") for link in links)
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert "content=\"default-src 'none'" in html


def test_references_inside_the_pictures_resolve(html):
    page = Page(html)
    names = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    used = set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'xlink:href="#([^"]+)"', html))
    assert used and used <= names


def test_report_shows_the_figures(html):
    text = Page(html).text
    for name, found in EVALUATIONS.items():
        assert f"AUC · {name} {found.auc:.3f} {found.auc_low:.3f} – {found.auc_high:.3f}" in text
    shown = ["Paillier", "3072", "Estimated security bits 128", "chunks 16", "388", "100.0%", "24.9 MB", "3 min 39 s"]
    shown += ["check digit wrong 31", "1,500 people", "watch", "moved", "stable", "Example Bank, Second Bank", "93.8%"]
    shown += ["Model card", "train: 1,000 / 130", "Not for companies.", "A. Example (model risk), 2025-03-01"]
    shown += ["Synthetic people.", "22,000,000", "best separation", FULL.job_hash]
    assert [figure for figure in shown if figure not in text] == []
    assert html.count("<svg") == 7


def test_json_beside_the_page_holds_the_same(tmp_path):
    render(tmp_path)
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert read == FULL.to_dict()
    assert read["evaluations"]["together"]["auc"] == EVALUATIONS["together"].auc
    assert [row["kind"] for row in read["traffic"]] == [row.kind for row in FULL.traffic]


def test_whatever_comes_from_outside_is_escaped(tmp_path):
    html = render(
        tmp_path,
        title=NASTY,
        party=NASTY,
        role=NASTY,
        peers=(NASTY,),
        job=NASTY,
        job_hash=NASTY,
        started=NASTY,
        ended=NASTY,
        engine=((NASTY, NASTY),),
        data=DataFacts(10, {NASTY: 1}, 9, {NASTY: 9}),
        evaluations={NASTY: EVALUATIONS["bank"], "_hidden": EVALUATIONS["together"]},
        stability={NASTY: 0.1},
        disclosed=(Disclosed(NASTY, NASTY, NASTY, NASTY),),
        traffic=(Traffic(NASTY, "sent", 1, 1),),
        steps=(Step(NASTY, 1.0),),
        model=ModelSummary(1, 1, ((NASTY, NASTY),), {NASTY: 1.0}),
        card=ModelCard(*[NASTY] * 5, ((NASTY, 1, 1),), ((NASTY, NASTY),), (NASTY,), (NASTY,)),
        notes=(NASTY,),
    )
    page = Page(html)
    assert not page.open and "<script" not in html
    assert page.text.count(NASTY) >= 35
    assert "_hidden" in page.text
    drawn = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert Page(drawn).text.count(NASTY) >= 6  # not read as a formula either


@pytest.mark.parametrize("plaintext", [True, False])
def test_plaintext_is_said_on_the_page_and_on_every_picture(tmp_path, plaintext):
    html = render(tmp_path, plaintext=plaintext)
    pieces = re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)
    assert ('class="alarm"' in html) is plaintext
    assert [">PLAINTEXT<" in piece for piece in pieces] == [plaintext] * 7
    assert ("PLAINTEXT" in html) is plaintext


def test_chinese_report(chinese):
    page = Page(chinese)
    assert ("html", {"lang": "zh-CN"}) in page.tags
    for words in (
        "联邦任务报告",
        "示范分局",
        "监管机构",
        "联合",
        "ROC 曲线",
        "假正例率",
        "各方获知的信息",
        "明文",
        "双方",
    ):
        assert words in page.text
    assert "who learned what" not in page.text.lower() and "True positive rate" not in page.text
    assert "Microsoft YaHei" in chinese and "PingFang SC" in chinese
    assert "font-family: 'DejaVu" not in chinese


def test_report_of_a_party_without_labels(tmp_path):
    html = render(tmp_path, evaluations={}, stability={}, role="passive")
    assert "this party holds no labels" in html
    assert html.count("<svg") == 2 and "ROC" not in html


def test_report_of_a_bare_job(tmp_path):
    bare = ReportContent("title", "party", "active", (), "job", "hash")
    page = Page(render(tmp_path / "new" / "folder", bare))
    assert not page.open and "Who learned what" not in page.text and "Own data" not in page.text


def test_report_of_scores_that_are_no_probabilities(tmp_path):
    html = render(tmp_path, evaluations=evaluations(probabilities=False))
    assert html.count("<svg") == 6 and "Calibration error" not in html


def test_detail_shows_together_or_else_the_last(tmp_path):
    assert FULL.headline == "together"
    names = ["together", "bank"]
    assert dataclasses.replace(FULL, evaluations={name: EVALUATIONS[name] for name in names}).headline == "together"
    assert dataclasses.replace(FULL, evaluations={"a": EVALUATIONS["bank"]}).headline == "a"
    assert "In detail · regulator" in render(
        tmp_path, evaluations={name: EVALUATIONS[name] for name in ("bank", "regulator")}
    )


def test_every_fixed_text_exists_in_both_languages():
    for texts in (TEXTS, pictures.LABELS):
        assert all(set(entry) == {"en", "zh"} and all(entry.values()) for entry in texts.values())


def test_report_refuses_other_languages(tmp_path):
    with pytest.raises(UsageError, match="'en' or 'zh'"):
        render(tmp_path, language="fr")
    assert not list(tmp_path.iterdir())


def all_pictures(**look):
    return [
        pictures.roc(EVALUATIONS, **look),
        pictures.auc_bars(EVALUATIONS, **look),
        pictures.lift_and_gain(EVALUATIONS, **look),
        pictures.calibration(EVALUATIONS, **look),
        pictures.score_distribution(EVALUATIONS["together"], **look),
        pictures.bytes_by_message(TRAFFIC, **look),
        pictures.time_by_step(STEPS, **look),
    ]


def words(svg):
    """All text in an SVG that `svg_text` returned, words one space apart."""
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))  # noqa: S314 -- our own output
    return " ".join(" ".join(root.itertext()).split())


def test_pictures_are_saved_as_png_and_svg(tmp_path):
    figure = pictures.roc(EVALUATIONS)
    with Image.open(pictures.save(figure, tmp_path / "new" / "roc.png")) as image:
        assert image.size == (1120, 1040)
        assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    svg = pictures.save(figure, tmp_path / "roc.SVG").read_text(encoding="utf-8")
    root = ElementTree.fromstring(svg)  # noqa: S314 -- our own output
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    with pytest.raises(UsageError, match=r"'\.jpg'"):
        pictures.save(figure, tmp_path / "roc.jpg")


def test_svg_holds_text_as_text_and_is_the_same_each_time():
    for figure, again in zip(all_pictures(), all_pictures(), strict=True):
        svg = pictures.svg_text(figure)
        assert figure.axes[0].get_title(loc="left") in words(svg)
        assert svg == pictures.svg_text(again)
    assert f"{EVALUATIONS['bank'].auc:.3f}" in words(pictures.svg_text(pictures.auc_bars(EVALUATIONS)))


def test_roc_legend_tells_each_auc():
    found = [text.get_text() for text in pictures.roc(EVALUATIONS).axes[0].get_legend().get_texts()]
    assert found == [f"{one.auc:.3f}  {name}" for name, one in EVALUATIONS.items()]


def test_bars_stand_for_the_values():
    bars = pictures.auc_bars(EVALUATIONS).axes[0].patches
    assert [bar.get_y() + bar.get_height() for bar in bars] == pytest.approx([e.auc for e in EVALUATIONS.values()])
    ends = [bar.get_x() + bar.get_width() for bar in pictures.bytes_by_message(TRAFFIC).axes[0].patches]
    assert max(ends) == 22_000_000 and sorted(ends)[-2] == 2_900_000
    ends = [bar.get_width() for bar in pictures.time_by_step(STEPS).axes[0].patches]
    assert ends == [6.2, 212.5, 5.8, 380.0]


def test_drawing_leaves_no_trace_in_matplotlib(tmp_path):
    import matplotlib as mpl
    from matplotlib import _pylab_helpers

    before = dict(mpl.rcParams)
    pictures.save(pictures.roc(EVALUATIONS, plaintext=True), tmp_path / "roc.png")
    assert dict(mpl.rcParams) == before
    assert not _pylab_helpers.Gcf.get_all_fig_managers()


def test_without_a_chinese_font_files_are_english_and_pages_chinese(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(pictures, "chinese_font", lambda: None)
    with caplog.at_level(logging.WARNING):
        figure = pictures.roc({"bank": EVALUATIONS["bank"], "示范银行": EVALUATIONS["together"]}, language="zh")
    assert "No font with Chinese letters" in caplog.text
    pictures.save(figure, tmp_path / "roc.png")  # a missing letter would warn, and warnings are errors here
    found = words(pictures.svg_text(figure))
    assert "ROC curve" in found and "no. 2" in found and not re.search(r"[\u2e80-\uffff]", found)
    page = words(pictures.svg_text(pictures.roc(EVALUATIONS, language="zh", browser=True)))
    assert "ROC 曲线" in page and "监管机构" in page


def test_with_a_chinese_font_files_are_chinese(tmp_path):
    if pictures.chinese_font() is None:
        pytest.skip("no font with Chinese letters on this machine")
    figure = pictures.roc(EVALUATIONS, language="zh", plaintext=True)
    pictures.save(figure, tmp_path / "roc.png")  # a missing letter would warn
    assert "ROC 曲线" in words(pictures.svg_text(figure))


def test_a_font_installed_after_matplotlib_listed_them_is_found(monkeypatch):
    if pictures.chinese_font() is None:
        pytest.skip("no font with Chinese letters on this machine")
    manager = pictures.font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [f for f in manager.ttflist if f.name not in pictures.CHINESE_FONTS])
    pictures._newly_installed_font.cache_clear()
    assert pictures.chinese_font() in pictures.CHINESE_FONTS
    pictures._newly_installed_font.cache_clear()


@pytest.mark.parametrize(
    "draw",
    [
        pictures.roc,
        pictures.auc_bars,
        pictures.lift_and_gain,
        pictures.calibration,
        pictures.bytes_by_message,
        pictures.time_by_step,
    ],
)
def test_nothing_to_draw_is_a_usage_error(draw):
    with pytest.raises(UsageError, match="nothing to draw"):
        draw({})


def test_pictures_refuse_other_languages():
    with pytest.raises(UsageError, match="language='fr'"):
        pictures.roc(EVALUATIONS, language="fr")
