"""Image in, answer out: prediction, files, and scores over a split."""

from featalign.inference.evaluation import evaluate, gathered
from featalign.inference.explanation import explain
from featalign.inference.image_files import predict_files
from featalign.inference.large import predict_raster
from featalign.inference.listing import collect_images
from featalign.inference.network import Network
from featalign.inference.objects import Objects, detect, score_detector
from featalign.inference.panoptic import Segments, score_panoptic, segment
from featalign.inference.predictor import Prediction, Predictor
from featalign.inference.result import Evaluation, merged
from featalign.inference.views import Views

__all__ = [
    "Evaluation",
    "Network",
    "Objects",
    "Prediction",
    "Predictor",
    "Segments",
    "Views",
    "collect_images",
    "detect",
    "evaluate",
    "explain",
    "gathered",
    "merged",
    "predict_files",
    "predict_raster",
    "score_detector",
    "score_panoptic",
    "segment",
]
