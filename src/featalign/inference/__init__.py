"""Image in, answer out: prediction, files, and scores over a split."""

from featalign.inference.evaluation import Evaluation, evaluate
from featalign.inference.explanation import explain
from featalign.inference.files import collect_images, predict_files
from featalign.inference.predictor import Prediction, Predictor

__all__ = ["Evaluation", "Prediction", "Predictor", "collect_images", "evaluate", "explain", "predict_files"]
