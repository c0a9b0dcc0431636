"""fedbank: federated learning and privacy computing between a bank and a regulator."""

from fedbank.data.tables import Table, read_table
from fedbank.errors import FedbankError, PeerError, PeerGone, UsageError
from fedbank.models.evaluation import Evaluation, evaluate
from fedbank.models.logistic_regression import ActiveLogisticRegression, PassiveLogisticRegression
from fedbank.models.vertical_scorecard import ActiveScorecard, PassiveScorecard
from fedbank.party.job import Job
from fedbank.party.programs import run, score
from fedbank.protocols.alignment import Alignment, align
from fedbank.simulate import Simulation, simulate

__all__ = [
    "ActiveLogisticRegression",
    "ActiveScorecard",
    "Alignment",
    "Evaluation",
    "FedbankError",
    "Job",
    "PassiveLogisticRegression",
    "PassiveScorecard",
    "PeerError",
    "PeerGone",
    "Simulation",
    "Table",
    "UsageError",
    "align",
    "evaluate",
    "read_table",
    "run",
    "score",
    "simulate",
]
__version__ = "0.1.0"
