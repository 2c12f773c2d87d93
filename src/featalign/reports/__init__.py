"""What a run is worth, and which of two is better: pages to open in a browser, each one file."""

from featalign.reports.comparison import Comparison, compare
from featalign.reports.comparison_report import Compared, comparison_report
from featalign.reports.evaluation_report import evaluation_report
from featalign.reports.pictures import Example, Rerun, examples
from featalign.reports.ranking import Ranked
from featalign.reports.regions import Region, resolved_regions

__all__ = [
    "Compared",
    "Comparison",
    "Example",
    "Ranked",
    "Region",
    "Rerun",
    "compare",
    "comparison_report",
    "evaluation_report",
    "examples",
    "resolved_regions",
]
