"""Objects in images, in COCO's files or as pixels' labels tell them: boxes, masks, crowds, and panoptic segments."""

from featalign.data.objects.check import check_objects, check_panoptic
from featalign.data.objects.coco import Annotation, CocoFile, read_coco
from featalign.data.objects.dataset import ObjectDataset, open_objects
from featalign.data.objects.labelled import AnyObjects, AnySegments, LabelledObjects, LabelledSegments
from featalign.data.objects.panoptic import PanopticDataset, open_panoptic
from featalign.data.objects.results import coco_results
from featalign.data.objects.sample import ObjectSample, PanopticSample, class_ids, detection_target, panoptic_target
from featalign.data.objects.splits import ObjectFiles, find_objects, list_object_splits, object_kinds
from featalign.data.objects.transforms import object_transform, panoptic_transform

__all__ = [
    "Annotation",
    "AnyObjects",
    "AnySegments",
    "CocoFile",
    "LabelledObjects",
    "LabelledSegments",
    "ObjectDataset",
    "ObjectFiles",
    "ObjectSample",
    "PanopticDataset",
    "PanopticSample",
    "check_objects",
    "check_panoptic",
    "class_ids",
    "coco_results",
    "detection_target",
    "find_objects",
    "list_object_splits",
    "object_kinds",
    "object_transform",
    "open_objects",
    "open_panoptic",
    "panoptic_target",
    "panoptic_transform",
    "read_coco",
]
