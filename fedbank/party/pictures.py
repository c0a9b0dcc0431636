"""Pictures of an evaluation and of a job: matplotlib figures for files, SVG with real text for the HTML report.

Every function takes summaries (`Evaluation`, byte counts, seconds), never rows, and returns a `Figure` that belongs
to no global state. Three keywords are common to all: `language` of the fixed texts, `plaintext` (the mock engine ran:
the picture says so across its face), and `browser` (the figure becomes SVG text in a web page, where the reader's own
machine supplies Chinese letters). Without `browser`, Chinese needs a font on this machine; when there is none the
picture is made in English and a warning is logged.

Colours are those of Okabe and Ito 2008, told apart by colour-blind readers; lines differ in dashes as well.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from fedbank.errors import UsageError
from fedbank.models.evaluation import Evaluation

# A Chinese font without a bold face is drawn in its regular one; matplotlib would say so at every picture.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

__all__ = [
    "Language",
    "auc_bars",
    "bytes_by_message",
    "calibration",
    "chinese_font",
    "lift_and_gain",
    "readable_bytes",
    "readable_seconds",
    "roc",
    "save",
    "score_distribution",
    "svg_text",
    "time_by_step",
    "translated",
]

log = logging.getLogger(__name__)
P = ParamSpec("P")
Floats = NDArray[np.float64]
Language = Literal["en", "zh"]

INK, MUTED, GRID, ALARM = "#1b2733", "#66727f", "#e4e8ec", "#c62828"
COLOURS = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
DASHES = ((0, (5, 1.6)), (0, (7, 1.6, 1.4, 1.6)), "solid", (0, (1.4, 1.4)), (0, (9, 3)), "dashdot")
POSITIVE, NEGATIVE = "#d55e00", "#0072b2"

FONT_STACK = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "PingFang SC", "Hiragino Sans GB", '
    '"Microsoft YaHei", "Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "SimHei", sans-serif'
)
CHINESE_FONTS = {
    "Noto Sans CJK SC": "notosanscjk",
    "Noto Sans CJK JP": "notosanscjk",
    "Noto Sans SC": "notosanssc",
    "Source Han Sans SC": "sourcehansans",
    "Source Han Sans CN": "sourcehansans",
    "WenQuanYi Micro Hei": "wqy-microhei",
    "WenQuanYi Zen Hei": "wqy-zenhei",
    "PingFang SC": "pingfang",
    "Microsoft YaHei": "msyh",
    "SimHei": "simhei",
}

STYLE: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a party's name may hold dollar signs
    "axes.edgecolor": "#aeb7c0",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9.5,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": "#aeb7c0",
    "ytick.color": "#aeb7c0",
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.facecolor": "white",
    "svg.fonttype": "none",
}

LABELS: dict[str, dict[Language, str]] = {
    "roc": {"en": "ROC curve", "zh": "ROC 曲线"},
    "false rate": {"en": "False positive rate", "zh": "假正例率"},
    "true rate": {"en": "True positive rate", "zh": "真正例率"},
    "chance": {"en": "chance", "zh": "随机"},
    "gain": {"en": "Cumulative gain", "zh": "累计增益"},
    "checked": {"en": "People checked, riskiest first", "zh": "检查人数占比（风险由高到低）"},
    "found": {"en": "Positives found", "zh": "检出的正例"},
    "lift": {"en": "Lift by band", "zh": "分段提升度"},
    "band": {"en": "Band, riskiest first", "zh": "分段（风险由高到低）"},
    "times base": {"en": "Times the base rate", "zh": "基准率的倍数"},
    "calibration": {"en": "Calibration", "zh": "校准曲线"},
    "predicted": {"en": "Mean predicted probability (square-root scale)", "zh": "平均预测概率（平方根刻度）"},
    "observed": {"en": "Observed rate", "zh": "实际比例"},
    "perfect": {"en": "perfect", "zh": "完全一致"},
    "distribution": {"en": "Scores by label", "zh": "分数分布（按标签）"},
    "score": {"en": "Score", "zh": "分数"},
    "probability": {"en": "Predicted probability (log-odds scale)", "zh": "预测概率（对数几率刻度）"},
    "share": {"en": "Share of the label's people", "zh": "占同标签人数的比例"},
    "positive": {"en": "positive", "zh": "正例"},
    "negative": {"en": "negative", "zh": "负例"},
    "auc": {"en": "AUC, each alone and together", "zh": "AUC：单方与联合"},
    "auc axis": {"en": "AUC", "zh": "AUC"},
    "bytes": {"en": "Bytes by message kind", "zh": "各类消息的字节数"},
    "sent": {"en": "sent", "zh": "发送"},
    "received": {"en": "received", "zh": "接收"},
    "time": {"en": "Time by step", "zh": "各步骤耗时"},
    "wall": {"en": "wall", "zh": "总耗时"},
    "cpu": {"en": "CPU", "zh": "CPU"},
    "plaintext": {
        "en": "PLAINTEXT: mock engine, nothing was encrypted",
        "zh": "PLAINTEXT 明文：模拟引擎，数据未加密",
    },
}

NAMES: dict[str, str] = {
    "bank": "银行",
    "regulator": "监管机构",
    "together": "联合",
    "active": "主动方",
    "passive": "被动方",
    "both": "双方",
    "alone": "单方",
    "train": "训练集",
    "training": "训练集",
    "validation": "验证集",
    "test": "测试集",
    "out of time": "时间外样本",
}


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_style()):
            return draw(*args, **kwargs)

    return styled


@_styled
def roc(
    evaluations: Mapping[str, Evaluation],
    *,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw the ROC curves of several named score vectors, with each AUC and its interval in the legend.

    Examples
    --------
    >>> from fedbank.models.evaluation import evaluate
    >>> figure = roc({"together": evaluate([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], draws=50)})
    >>> figure.axes[0].get_title(loc="left")
    'ROC curve'
    """
    _need(evaluations, "a ROC picture")
    say = _Texts(language, browser)
    figure, axes = _page((5.6, 5.2), say("roc"), plaintext, say)
    axes.plot([0, 1], [0, 1], color="#aeb7c0", linewidth=0.9, linestyle=(0, (2, 3)))
    axes.annotate(say("chance"), (0.4, 0.365), color=MUTED, fontsize=8.5)
    labels, lines = [], []
    for place, (name, found) in enumerate(evaluations.items()):
        points = np.array(found.roc)
        lines += axes.plot(*points.T, color=_colour(place), linestyle=_dash(place), linewidth=2.1)
        labels.append(f"{found.auc:.3f}  {say.name(name, place)}")
    legend = axes.legend(lines, labels, title="AUC", loc="lower right", handlelength=2.6, borderaxespad=0.8)
    legend.set_alignment("left")
    legend.get_title().set(color=MUTED, fontsize=8.5)
    axes.set(xlim=(-0.006, 1.006), ylim=(-0.006, 1.006), aspect="equal")
    axes.set(xlabel=say("false rate"), ylabel=say("true rate"))
    _percent(axes.xaxis, axes.yaxis)
    axes.grid(True)
    return figure


@_styled
def lift_and_gain(
    evaluations: Mapping[str, Evaluation],
    *,
    headline: str | None = None,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw the gain curves of all score vectors and, beside them, the lift in each band of one (default: the last)."""
    _need(evaluations, "a lift picture")
    say = _Texts(language, browser)
    figure, left = _page((9.6, 4.2), say("gain"), plaintext, say, columns=2)
    right = figure.axes[1]
    left.plot([0, 1], [0, 1], color="#aeb7c0", linewidth=0.9, linestyle=(0, (2, 3)))
    for place, (name, found) in enumerate(evaluations.items()):
        people = np.cumsum([0] + [row.people for row in found.lift]) / found.people
        gain = [0.0] + [row.gain for row in found.lift]
        left.plot(
            people,
            gain,
            color=_colour(place),
            linestyle=_dash(place),
            linewidth=2.1,
            marker="o",
            markersize=3.6,
            label=f" {say.name(name, place)}",  # a leading underscore would hide the entry
        )
    left.legend(loc="lower right", handlelength=2.6)
    left.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=say("checked"), ylabel=say("found"))
    _percent(left.xaxis, left.yaxis)
    left.grid(True)
    names = list(evaluations)
    chosen = len(names) - 1 if headline is None else names.index(headline)
    found = evaluations[names[chosen]]
    right.set_title(f"{say('lift')}  ({say.name(names[chosen], chosen)})")
    bars = right.bar(
        [str(row.band) for row in found.lift], [row.lift for row in found.lift], 0.72, color=_colour(chosen)
    )
    right.bar_label(bars, [f"{row.lift:.1f}" for row in found.lift], padding=2, color=MUTED, fontsize=8.5)
    right.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (2, 3)))
    right.set(xlabel=say("band"), ylabel=say("times base"))
    right.grid(True, axis="y")
    return figure


@_styled
def calibration(
    evaluations: Mapping[str, Evaluation],
    *,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw observed rate against predicted probability, with 95 % intervals; score vectors without it are left out.

    Raises
    ------
    UsageError
        When no evaluation holds a calibration.
    """
    calibrated = {name: found.calibration for name, found in evaluations.items() if found.calibration}
    _need(calibrated, "a calibration picture")
    say = _Texts(language, browser)
    figure, axes = _page((5.6, 4.6), say("calibration"), plaintext, say)
    top = max(max(row.observed_rate, row.mean_probability) for c in calibrated.values() for row in c.rows)
    top = min(1.0, 1.12 * top)
    axes.plot([0, top], [0, top], color="#aeb7c0", linewidth=0.9, linestyle=(0, (2, 3)))
    axes.annotate(
        say("perfect"), (0.45 * top, 0.45 * top), (8, -8), textcoords="offset points", color=MUTED, fontsize=8.5
    )
    places = {name: place for place, name in enumerate(evaluations)}
    for name, found in calibrated.items():
        place = places[name]
        middle = np.array([row.observed_rate for row in found.rows])
        reach = np.abs([[row.low for row in found.rows], [row.high for row in found.rows]] - middle)
        axes.errorbar(
            [row.mean_probability for row in found.rows],
            middle,
            reach,
            color=_colour(place),
            linestyle=_dash(place),
            linewidth=1.8,
            elinewidth=0.9,
            marker="o",
            markersize=4,
            label=f" {say.name(name, place)}",
        )
    axes.legend(loc="upper left", handlelength=2.6)
    # Rare risks crowd at the origin of a plain axis; a logarithm would lose bands without any positive.
    axes.set_xscale("function", functions=(_square_root, np.square))
    axes.set_yscale("function", functions=(_square_root, np.square))
    ticks = [tick for tick in (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1) if tick <= top]
    axes.set(xticks=ticks, yticks=ticks)
    axes.set(xlim=(0, 1.02 * top), ylim=(0, 1.1 * top), xlabel=say("predicted"), ylabel=say("observed"))
    _percent(axes.xaxis, axes.yaxis)
    axes.grid(True)
    return figure


@_styled
def score_distribution(
    evaluation: Evaluation,
    *,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw the scores of positives and of negatives, each as shares of their own number."""
    say = _Texts(language, browser)
    figure, axes = _page((5.6, 4.6), say("distribution"), plaintext, say)
    found = evaluation.distribution
    edges = np.array(found.edges)
    if found.log_odds:
        edges = np.log(edges / (1 - edges))
    for counts, colour, key in ((found.negatives, NEGATIVE, "negative"), (found.positives, POSITIVE, "positive")):
        shares = np.array(counts) / sum(counts)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.22)
        axes.stairs(shares, edges, color=colour, linewidth=1.6, label=f"{say(key)} ({sum(counts):,})")
    axes.legend(loc="upper right", handlelength=1.4)
    axes.set(xlabel=say("probability" if found.log_odds else "score"), ylabel=say("share"))
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.25 * axes.dataLim.y1))
    if found.log_odds:
        _log_odds_ticks(axes, edges[0], edges[-1])
    _percent(axes.yaxis)
    axes.grid(True, axis="y")
    return figure


@_styled
def auc_bars(
    evaluations: Mapping[str, Evaluation],
    *,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw one AUC bar for each score vector (bank, regulator, together), from 0.5 up, with its interval."""
    _need(evaluations, "an AUC picture")
    say = _Texts(language, browser)
    figure, axes = _page((5.6, 5.2), say("auc"), plaintext, say)
    names = [say.name(name, place) for place, name in enumerate(evaluations)]
    values = np.array([found.auc for found in evaluations.values()])
    reach = [
        [max(0.0, found.auc - found.auc_low) for found in evaluations.values()],
        [max(0.0, found.auc_high - found.auc) for found in evaluations.values()],
    ]
    floor = min(0.5, np.floor(10 * min(found.auc_low for found in evaluations.values())) / 10)
    colours = [_colour(place) for place in range(len(names))]
    places = np.arange(len(names))
    axes.bar(places, values - floor, 0.58, bottom=floor, color=colours)
    axes.errorbar(places, values, reach, fmt="none", ecolor=INK, elinewidth=1.1, capsize=4, capthick=1.1)
    for place, found in enumerate(evaluations.values()):
        axes.annotate(
            f"{found.auc:.3f}",
            (place, found.auc_high),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=13,
            fontweight="bold",
        )
    axes.set_xticks(places, names)
    axes.tick_params(axis="x", labelsize=10.5, labelcolor=INK, length=0)
    axes.set(ylim=(floor, 1.08), ylabel=say("auc axis"), xlim=(-0.6, len(names) - 0.4))
    axes.set_yticks(np.arange(floor, 1.01, 0.1))
    axes.grid(True, axis="y")
    return figure


@_styled
def bytes_by_message(
    traffic: Mapping[str, tuple[int, int]],
    *,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw one bar for each message kind, the largest first.

    Parameters
    ----------
    traffic : message kind -> (bytes sent, bytes received)
    """
    _need(traffic, "a picture of the traffic")
    say = _Texts(language, browser)
    rows = dict(sorted(traffic.items(), key=lambda row: -sum(row[1])))
    figure, axes = _rows_page(rows, say("bytes"), plaintext, say)
    sent, received = np.array(list(rows.values()), dtype=np.float64).T
    places = np.arange(len(rows))
    axes.barh(places, sent, 0.62, color=COLOURS[1], label=say("sent"))
    axes.barh(places, received, 0.62, left=sent, color=COLOURS[5], label=say("received"))
    _end_labels(axes, sent + received, readable_bytes)
    return figure


@_styled
def time_by_step(
    steps: Mapping[str, tuple[float, float]],
    *,
    language: Language = "en",
    plaintext: bool = False,
    browser: bool = False,
) -> Figure:
    """Draw wall time and CPU time of each step, in the order given.

    Parameters
    ----------
    steps : step -> (wall seconds, CPU seconds)
    """
    _need(steps, "a picture of the times")
    say = _Texts(language, browser)
    figure, axes = _rows_page(steps, say("time"), plaintext, say)
    wall, cpu = np.array(list(steps.values()), dtype=np.float64).T
    places = np.arange(len(steps))
    axes.barh(places - 0.17, wall, 0.34, color=COLOURS[2], label=say("wall"))
    axes.barh(places + 0.17, cpu, 0.26, color="#a7d8c7", label=say("cpu"))
    _end_labels(axes, wall, readable_seconds, rise=-0.17, longest=max(wall.max(), cpu.max()))
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG (200 dots an inch) or SVG (text stays text), by the ending of `path`.

    Raises
    ------
    UsageError
        For any other ending.
    """
    ending = path.suffix.lower()
    if ending not in (".png", ".svg"):
        raise UsageError(f"A picture is saved as .png or .svg; found the ending {ending!r}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if ending == ".svg":
        path.write_text(_svg(figure), encoding="utf-8")
    else:
        with _drawing():
            figure.savefig(path, dpi=200, metadata={"Software": None})
    return path


def svg_text(figure: Figure) -> str:
    """Return a figure as an `<svg>` element to place inside an HTML page; it fills the width it is given."""
    svg = _svg(figure)
    title = re.sub(r"[<>&\"]", "", figure.axes[0].get_title(loc="left"))
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, count=1, flags=re.DOTALL)
    # HTML knows both namespaces by itself, and ids that nothing refers to would repeat from picture to picture.
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg, count=2)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def chinese_font() -> str | None:
    """Return the name of a font on this machine that has Chinese letters, or None."""
    known = {font.name for font in font_manager.fontManager.ttflist}
    for name in CHINESE_FONTS:
        if name in known:
            return name
    return _newly_installed_font()


def readable_bytes(count: float) -> str:
    """Write a byte count for people, in powers of 1,000.

    Examples
    --------
    >>> readable_bytes(999), readable_bytes(12_345_678)
    ('999 B', '12.3 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"


def readable_seconds(seconds: float) -> str:
    """Write a duration for people.

    Examples
    --------
    >>> readable_seconds(0.0123), readable_seconds(8.25), readable_seconds(192), readable_seconds(7260)
    ('12 ms', '8.2 s', '3 min 12 s', '2 h 1 min')
    """
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 99.5:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0)
    return " ".join(parts + [f"{rest} s"] * (rest > 0 and not hours))


def translated(name: str, language: Language) -> str:
    """Translate the usual names of score vectors and parts of a split; leave any other name as it is.

    Examples
    --------
    >>> translated("together", "zh"), translated("Bank of Examples", "zh")
    ('联合', 'Bank of Examples')
    """
    return NAMES.get(name, name) if language == "zh" else name


class _Texts:
    """The fixed texts in the language that can really be drawn."""

    def __init__(self, language: Language, browser: bool):
        if language not in ("en", "zh"):
            raise UsageError(f"Pictures speak 'en' or 'zh'; found language={language!r}.")
        self._drawable = browser or chinese_font() is not None
        if language == "zh" and not self._drawable:
            log.warning(
                "No font with Chinese letters is on this machine, so the picture is in English; "
                "install one, for example fonts-noto-cjk or fonts-wqy-microhei."
            )
        self._language: Language = language if self._drawable else "en"

    def __call__(self, key: str) -> str:
        return LABELS[key][self._language]

    def name(self, name: str, place: int) -> str:
        """Translate the usual name of a score vector."""
        return self.verbatim(translated(name, self._language), place)

    def verbatim(self, name: str, place: int) -> str:
        """Number a name that this machine's fonts cannot draw."""
        if not self._drawable and re.search(r"[\u2e80-\uffff]", name):
            return f"no. {place + 1}"
        return name


def _style() -> Any:
    chinese = chinese_font()
    return STYLE | {"font.family": ["DejaVu Sans", chinese]} if chinese else STYLE


def _page(size: tuple[float, float], title: str, plaintext: bool, say: _Texts, columns: int = 1) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout=_layout())
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0, 0]
    axes.set_title(title)
    if plaintext:
        _stamp(figure, say("plaintext"))
    return figure, axes


def _rows_page(rows: Mapping[str, Any], title: str, plaintext: bool, say: _Texts) -> tuple[Figure, Axes]:
    """Make a page for horizontal bars, as high as its rows need."""
    figure, axes = _page((6.0, 1.5 + 0.38 * len(rows) + 0.34 * plaintext), title, plaintext, say)
    names = [say.verbatim(name, place) for place, name in enumerate(rows)]
    axes.set_yticks(np.arange(len(rows)), names)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    return figure, axes


def _end_labels(
    axes: Axes, values: Floats, readable: Callable[[float], str], rise: float = 0.0, longest: float | None = None
) -> None:
    for place, value in enumerate(values):
        axes.annotate(
            readable(value), (value, place + rise), (5, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.set_xlim(0, 1.16 * max(float(values.max()) if longest is None else longest, 1e-3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable(value) if value else "0"))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.legend(loc="lower right", handlelength=1.2)


def _layout(top: float = 1.0) -> ConstrainedLayoutEngine:
    return ConstrainedLayoutEngine(w_pad=0.13, h_pad=0.13, wspace=0.06, rect=(0, 0, 1, top))


def _stamp(figure: Figure, sentence: str) -> None:
    """Put a red strip above the picture and a large pale word across it."""
    strip = 0.34 / figure.get_figheight()
    figure.set_layout_engine(_layout(top=1 - strip))
    figure.add_artist(Rectangle((0, 1 - strip), 1, strip, transform=figure.transFigure, color=ALARM))
    figure.text(0.5, 1 - strip / 2, sentence, color="white", fontsize=10, fontweight="bold", ha="center", va="center")
    figure.text(
        0.5,
        0.5,
        "PLAINTEXT",
        color=ALARM,
        alpha=0.13,
        fontsize=min(8.6 * figure.get_figwidth(), 17 * figure.get_figheight()),
        fontweight="bold",
        rotation=24,
        rotation_mode="anchor",
        ha="center",
        va="center",
        zorder=10,
    )


def _percent(*scales: Axis) -> None:
    for axis in scales:
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.3g}%"))


def _log_odds_ticks(axes: Axes, low: float, high: float) -> None:
    nice = np.array([0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99, 0.999, 0.9999])
    places = np.log(nice / (1 - nice))
    shown = (places >= low - 1e-9) & (places <= high + 1e-9)
    beyond = {0.0001: "≤", 0.9999: "≥"}  # the histogram clips there
    names = [f"{beyond.get(share, '')}{100 * share:g}%" for share in nice[shown].tolist()]
    axes.set_xticks(places[shown], names)


def _square_root(shares: Floats) -> Floats:
    return np.sqrt(np.maximum(shares, 0))


def _colour(place: int) -> str:
    return COLOURS[place % len(COLOURS)]


def _dash(place: int) -> Any:
    return DASHES[place % len(DASHES)]


def _need(rows: Mapping[str, Any], what: str) -> None:
    if not rows:
        raise UsageError(f"There is nothing to draw for {what}; pass at least one entry.")


def _svg(figure: Figure) -> str:
    title = figure.axes[0].get_title(loc="left")
    salt = hashlib.sha256(title.encode()).hexdigest()[:12]
    stream = io.StringIO()
    with _drawing({"svg.hashsalt": salt}), warnings.catch_warnings():
        # Letters that this machine lacks are measured as boxes; the reader's browser draws them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    # The fonts of this machine mean nothing to the reader's: name one stack for the whole picture. Older versions of
    # matplotlib write the family into a shorthand that cannot go without one.
    svg = re.sub(r" font-family: 'DejaVu Sans'[^;\"]*;?", "", stream.getvalue())
    svg = re.sub(r"(font: [^;\"]*?)'DejaVu Sans'[^;\"]*", rf"\1{FONT_STACK}".replace('"', "'"), svg)
    return svg.replace("<svg ", f"<svg font-family='{FONT_STACK}' ", 1)


def _drawing(more: Any = None) -> Any:
    """Draw in our style, inside a `with` block."""
    return mpl.rc_context(_style() | (more or {}))


@functools.cache
def _newly_installed_font() -> str | None:
    """Look for font files that matplotlib's own list, made once for each machine, does not know yet."""
    files = font_manager.findSystemFonts()
    for name, stem in CHINESE_FONTS.items():
        for file in files:
            if Path(file).stem.lower().startswith(stem):
                font_manager.fontManager.addfont(file)
                if any(font.name == name for font in font_manager.fontManager.ttflist):
                    return name
    return None
