"""One HTML file that tells what a job did: for reading offline, for printing, for keeping.

`ReportContent` holds plain figures and texts, so any job can fill it; `write_report` renders it with inline styles and
inline SVG and puts the same figures beside it as JSON. The page holds no script and refers to nothing outside itself
(its content security policy forbids both); whatever came from a peer or a configuration is escaped.
`tests/test_report.py` holds these promises.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import jinja2

from fedbank.errors import UsageError
from fedbank.models.champion import VERDICTS, Comparison
from fedbank.models.evaluation import Evaluation, as_plain
from fedbank.models.model_card import ModelCard
from fedbank.party import pictures
from fedbank.party.pictures import Language, translated
from fedbank.party.steps import Step

__all__ = [
    "DataFacts",
    "Disclosed",
    "ModelSummary",
    "ReportContent",
    "Traffic",
    "write_report",
]


@dataclass(frozen=True)
class DataFacts:
    """This party's rows on their way into the model.

    `rejected` counts rows by reason; `aligned` is the number of people both parties hold (None before matching);
    `split` counts them by part (train, validation, test, out of time).
    """

    rows: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    aligned: int | None = None
    split: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Disclosed:
    """What one party learned beyond its own input: in which step, who, what, and how much of it."""

    step: str
    to: str
    what: str
    amount: str = ""


@dataclass(frozen=True)
class Traffic:
    """Frames and bytes of one message kind in one direction, seen from this party."""

    kind: str
    direction: Literal["sent", "received"]
    frames: int
    bytes: int


@dataclass(frozen=True)
class ModelSummary:
    """This party's half of the model: rows of (label, value), and the importance of its own features."""

    trees: int | None = None
    depth: int | None = None
    rows: Sequence[tuple[str, str]] = ()
    importance: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows; each field but the first six may be left empty, and its section is left out.

    Attributes
    ----------
    title : what the job is for
    party, role : this organisation and its part ("active", "passive")
    peers : names of the other parties
    job, job_hash : name and hash of the agreed specification
    started, ended : local times as text
    engine : rows of (label, value): scheme, key bits, estimated security bits, parameters, as really used
    plaintext : the mock engine ran; a red banner and every picture say PLAINTEXT
    data, model, card : see `DataFacts`, `ModelSummary`, `fedbank.models.model_card.ModelCard`
    comparison : champion and challenger, `fedbank.models.champion.compare`
    evaluations : name -> Evaluation in the order of the table; the usual names bank, regulator and together (also
        active, passive) are translated. "together", else the last, is the one shown in detail
    stability : name -> population stability index against the training rows
    disclosed, traffic, steps : the tables of those names
    notes : sentences at the end
    language : of the fixed texts, "en" or "zh"
    """

    title: str
    party: str
    role: str
    peers: Sequence[str]
    job: str
    job_hash: str
    started: str = ""
    ended: str = ""
    engine: Sequence[tuple[str, str]] = ()
    plaintext: bool = False
    data: DataFacts = field(default_factory=DataFacts)
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    stability: Mapping[str, float] = field(default_factory=dict)
    disclosed: Sequence[Disclosed] = ()
    traffic: Sequence[Traffic] = ()
    steps: Sequence[Step] = ()
    model: ModelSummary = field(default_factory=ModelSummary)
    card: ModelCard | None = None
    comparison: Comparison | None = None
    notes: Sequence[str] = ()
    language: Language = "en"

    def to_dict(self) -> dict[str, Any]:
        """Return what `report.json` holds: dicts, lists, strings and numbers."""
        plain: dict[str, Any] = as_plain(self)
        if self.comparison is not None:
            plain["comparison"] = self.comparison.to_dict()
        return plain

    @cached_property
    def headline(self) -> str | None:
        """Name of the evaluation shown in detail; None when there is none."""
        return "together" if "together" in self.evaluations else next(reversed(list(self.evaluations)), None)

    @property
    def bytes_sent(self) -> int:
        """Bytes that left this party."""
        return sum(row.bytes for row in self.traffic if row.direction == "sent")

    @property
    def bytes_received(self) -> int:
        """Bytes that reached this party."""
        return sum(row.bytes for row in self.traffic if row.direction == "received")

    @property
    def wall_s(self) -> float:
        """Seconds of all steps together."""
        return sum(row.wall_s for row in self.steps)


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write `report.html` and `report.json` into `folder` and return the path of the page.

    The folder is made when it is missing; an older report in it is replaced.

    Raises
    ------
    UsageError
        For a language other than "en" and "zh".
    """
    if content.language not in ("en", "zh"):
        raise UsageError(f"A report is written in 'en' or 'zh'; found language={content.language!r}.")
    page = _template(content.language).render(
        content=content,
        headline=content.evaluations.get(content.headline or ""),
        pictures=_pictures(content),
        colours=pictures.COLOURS,
    )
    folder.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(content.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
    (folder / "report.json").write_text(figures + "\n", encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _template(language: Language) -> jinja2.Template:
    world = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    world.globals.update(t=lambda key: TEXTS[key][language], language=language)
    world.filters.update(
        bytes=pictures.readable_bytes,
        seconds=pictures.readable_seconds,
        count=lambda number: f"{number:,}",
        people=lambda number: f"{number:,.1f}".removesuffix(".0"),
        solid=lambda text: text.replace(" ", "\u00a0"),
        percent=lambda share: f"{100 * share:.1f}%",
        three=lambda number: f"{number:.3f}",
        named=lambda name: translated(name, language),
        labelled=lambda name: TEXTS[name][language] if name in TEXTS else name,
        stability=lambda index: TEXTS["stable" if index < 0.1 else "watch" if index <= 0.25 else "moved"][language],
    )
    return world.from_string((files("fedbank.party") / "report.html.j2").read_text(encoding="utf-8"))


def _pictures(content: ReportContent) -> dict[str, str]:
    look: dict[str, Any] = {"language": content.language, "plaintext": content.plaintext, "browser": True}
    drawn = {}
    found = content.evaluations
    if content.headline is not None:
        drawn["auc"] = pictures.auc_bars(found, **look)
        drawn["roc"] = pictures.roc(found, **look)
        drawn["lift"] = pictures.lift_and_gain(found, headline=content.headline, **look)
        drawn["distribution"] = pictures.score_distribution(found[content.headline], **look)
        if any(one.calibration for one in found.values()):
            drawn["calibration"] = pictures.calibration(found, **look)
    if content.traffic:
        drawn["bytes"] = pictures.bytes_by_message(_bytes_by_kind(content.traffic), **look)
    if content.steps:
        drawn["time"] = pictures.time_by_step({row.step: (row.wall_s, row.cpu_s) for row in content.steps}, **look)
    return {name: pictures.svg_text(figure) for name, figure in drawn.items()}


def _bytes_by_kind(traffic: Sequence[Traffic]) -> dict[str, tuple[int, int]]:
    kinds: dict[str, tuple[int, int]] = {}
    for row in traffic:
        sent, received = kinds.get(row.kind, (0, 0))
        kinds[row.kind] = (
            sent + row.bytes * (row.direction == "sent"),
            received + row.bytes * (row.direction == "received"),
        )
    return kinds


TEXTS: dict[str, dict[Language, str]] = {
    "report": {"en": "Federated job report", "zh": "联邦任务报告"},
    "plaintext": {"en": "PLAINTEXT", "zh": "PLAINTEXT 明文"},
    "plaintext why": {
        "en": "This job ran with the mock engine: nothing was encrypted, and both parties could read each other's "
        "intermediate values. Never use it on real people.",
        "zh": "本任务使用模拟引擎运行：数据未加密，双方可以读到对方的中间结果。切勿用于真实客户数据。",
    },
    "party": {"en": "Party", "zh": "本方"},
    "role": {"en": "Role", "zh": "角色"},
    "peers": {"en": "Peers", "zh": "对方"},
    "job": {"en": "Job", "zh": "任务"},
    "hash": {"en": "Job hash", "zh": "任务哈希"},
    "started": {"en": "Started", "zh": "开始"},
    "ended": {"en": "Ended", "zh": "结束"},
    "auc": {"en": "AUC", "zh": "AUC"},
    "interval": {"en": "interval", "zh": "区间"},
    "matched": {"en": "People matched", "zh": "匹配人数"},
    "of rows": {"en": "of own rows", "zh": "占本方行数"},
    "bytes": {"en": "Bytes", "zh": "字节数"},
    "bytes total": {"en": "Bytes on the line", "zh": "通信量"},
    "sent": {"en": "sent", "zh": "发送"},
    "received": {"en": "received", "zh": "接收"},
    "time": {"en": "Time", "zh": "耗时"},
    "steps": {"en": "steps", "zh": "个步骤"},
    "best gap": {"en": "best separation", "zh": "最大区分度"},
    "result": {"en": "Result", "zh": "结果"},
    "no labels": {
        "en": "No evaluation is shown here: this party holds no labels. The party that holds them has the evaluation "
        "in its own report.",
        "zh": "此处没有评估结果：本方不持有标签。评估结果见持有标签一方的报告。",
    },
    "scores": {"en": "Scores", "zh": "模型"},
    "people": {"en": "People", "zh": "人数"},
    "positives": {"en": "Positives", "zh": "正例"},
    "ks": {"en": "KS", "zh": "KS"},
    "brier": {"en": "Brier score", "zh": "Brier 分数"},
    "calibration error": {"en": "Calibration error", "zh": "校准误差"},
    "precision at": {"en": "Precision in top", "zh": "命中率，前"},
    "detail": {"en": "In detail", "zh": "详细结果"},
    "confusion": {"en": "Confusion at the threshold", "zh": "阈值下的混淆矩阵"},
    "flagged": {"en": "flagged", "zh": "预警"},
    "not flagged": {"en": "not flagged", "zh": "未预警"},
    "positive": {"en": "positive", "zh": "正例"},
    "negative": {"en": "negative", "zh": "负例"},
    "threshold": {"en": "Threshold", "zh": "阈值"},
    "precision": {"en": "Precision", "zh": "精确率"},
    "recall": {"en": "Recall", "zh": "召回率"},
    "rule ks": {
        "en": "chosen where KS is reached on these same rows, therefore a little flattering",
        "zh": "取自同一批数据上 KS 最大处，因此略偏乐观",
    },
    "rule top share": {"en": "chosen so that a stated top share is flagged", "zh": "按约定的最高分比例选取"},
    "rule given": {"en": "given in advance", "zh": "事先给定"},
    "lift table": {"en": "Lift and gain", "zh": "提升度与增益"},
    "band": {"en": "Band", "zh": "分段"},
    "rate": {"en": "Rate", "zh": "正例率"},
    "lift": {"en": "Lift", "zh": "提升度"},
    "cumulative lift": {"en": "Cumulative", "zh": "累计提升度"},
    "gain": {"en": "Gain", "zh": "累计增益"},
    "bootstrap": {
        "en": "Intervals: percentile bootstrap over the people evaluated; draws:",
        "zh": "区间：对评估人群做自助法（百分位数），抽样次数：",
    },
    "stability": {"en": "Population stability index", "zh": "群体稳定性指标（PSI）"},
    "stable": {"en": "stable", "zh": "稳定"},
    "watch": {"en": "watch", "zh": "需关注"},
    "moved": {"en": "moved", "zh": "明显漂移"},
    "learned": {"en": "Who learned what", "zh": "各方获知的信息"},
    "learned why": {
        "en": "What this job disclosed to each party beyond its own input.",
        "zh": "除自身输入外，本任务使各方获知的信息。",
    },
    "step": {"en": "Step", "zh": "步骤"},
    "to": {"en": "Who", "zh": "获知方"},
    "what": {"en": "What", "zh": "内容"},
    "amount": {"en": "How much", "zh": "数量"},
    "traffic": {"en": "What went over the line", "zh": "通信明细"},
    "kind": {"en": "Message", "zh": "消息"},
    "direction": {"en": "Direction", "zh": "方向"},
    "frames": {"en": "Frames", "zh": "帧数"},
    "times": {"en": "Where the time went", "zh": "时间明细"},
    "wall": {"en": "Wall", "zh": "总耗时"},
    "cpu": {"en": "CPU", "zh": "CPU"},
    "total": {"en": "Total", "zh": "合计"},
    "data": {"en": "Own data", "zh": "本方数据"},
    "rows read": {"en": "rows read", "zh": "读入行数"},
    "rejected": {"en": "rejected", "zh": "拒绝"},
    "aligned": {"en": "people matched", "zh": "匹配人数"},
    "reason": {"en": "Reason", "zh": "原因"},
    "engine": {"en": "Engine", "zh": "加密引擎"},
    "scheme": {"en": "Scheme", "zh": "方案"},
    "key bits": {"en": "Key bits", "zh": "密钥位数"},
    "estimated security bits": {"en": "Estimated security bits", "zh": "估计安全强度（位）"},
    "parameters": {"en": "Parameters", "zh": "参数"},
    "model": {"en": "Own half of the model", "zh": "本方的半个模型"},
    "trees": {"en": "Trees", "zh": "树的棵数"},
    "depth": {"en": "Depth", "zh": "深度"},
    "importance": {"en": "Importance of own features", "zh": "本方特征重要性"},
    "model card": {"en": "Model card", "zh": "模型说明卡"},
    "model name": {"en": "Model", "zh": "模型名称"},
    "intended use": {"en": "Intended use", "zh": "适用范围"},
    "population": {"en": "Population", "zh": "人群"},
    "observation window": {"en": "Observation window", "zh": "观察期"},
    "performance window": {"en": "Performance window", "zh": "表现期"},
    "people / bads": {"en": "People / bads", "zh": "人数 / 坏样本数"},
    "disclosure": {"en": "Disclosure", "zh": "信息披露"},
    "limit": {"en": "Limit", "zh": "局限"},
    "approval": {"en": "Approved by", "zh": "审批"},
    "not approved yet": {"en": "Not approved yet", "zh": "尚未审批"},
    "comparison": {"en": "Champion and challenger", "zh": "冠军与挑战者模型对比"},
    "figure": {"en": "Figure", "zh": "指标"},
    "gini": {"en": "Gini", "zh": "Gini 系数"},
    "log loss": {"en": "Log loss", "zh": "对数损失"},
    "difference": {"en": "AUC difference (DeLong)", "zh": "AUC 差异（DeLong）"},
    "least gain": {"en": "gain asked for", "zh": "要求的最低提升"},
    "score shift": {"en": "Stability index between the two scores", "zh": "两模型评分间的稳定性指标"},
    "swap set": {"en": "Who would change sides, approved:", "zh": "换组分析，通过率："},
    "cell": {"en": "People", "zh": "人群"},
    "bad rate": {"en": "Bad rate", "zh": "坏样本率"},
    "approved by both": {"en": "approved by both", "zh": "两模型均通过"},
    "swapped in": {"en": "approved by the challenger only", "zh": "仅挑战者通过（换入）"},
    "swapped out": {"en": "approved by the champion only", "zh": "仅冠军通过（换出）"},
    "approved by neither": {"en": "approved by neither", "zh": "两模型均拒绝"},
    "verdict replace": {"en": VERDICTS["replace"], "zh": "建议替换：挑战者排序更好，换入人群更优，且校准良好。"},
    "verdict keep: worse": {"en": VERDICTS["keep: worse"], "zh": "建议保留冠军：挑战者未达到要求的提升。"},
    "verdict keep: swap": {
        "en": VERDICTS["keep: swap"],
        "zh": "建议保留冠军：挑战者总体排序更好，但换入人群并不优于换出人群。",
    },
    "verdict keep: calibration": {
        "en": VERDICTS["keep: calibration"],
        "zh": "重新校准之前建议保留冠军：挑战者排序更好，但概率校准变差。",
    },
    "verdict unclear": {"en": VERDICTS["unclear"], "zh": "建议保留冠军：在这批人群上未见明确差异。"},
    "verdict why": {
        "en": "Rule: replace if the interval lies above the gain asked for, those swapped in have a lower bad rate "
        "than those swapped out, and the calibration error is at most 0.01 higher.",
        "zh": "规则：区间高于要求的提升，换入人群坏样本率低于换出人群，且校准误差增加不超过 0.01 时，建议替换。",
    },
    "notes": {"en": "Notes", "zh": "备注"},
    "footer": {
        "en": "Written by fedbank. The same figures are in report.json beside this page.",
        "zh": "由 fedbank 生成。同样的数据见同目录下的 report.json。",
    },
}
