"""Where ACDC (Sakaridis et al., 2021) and Dark Zurich (Sakaridis et al., 2019) keep their files.

Both name an image FRAME_rgb_anon.png, below rgb_anon/, and its label FRAME_gt_labelTrainIds.png, in
the same folders below gt/. Their folders *_ref show the same places by day and in clear weather;
they belong to no split.
"""

from __future__ import annotations

from harness.data.forms import Form

#: ACDC's, in the order of its folders.
CONDITIONS = ("fog", "night", "rain", "snow")

#: Both are published; the first is what the benchmarks score on.
LABELS = ("_gt_labelTrainIds.png", "_gt_labelIds.png")
#: Of images and of labels: as the authors say, and with each archive in a folder of its own name.
ACDC_FOLDERS = ("rgb_anon", "rgb_anon_*/rgb_anon"), ("gt", "gt_*/gt")
DARK_ZURICH_FOLDERS = ("rgb_anon", "Dark_Zurich_*_anon/rgb_anon"), ("gt", "Dark_Zurich_*_anon/gt")


def _form(folders: tuple[tuple[str, ...], tuple[str, ...]], *below: str) -> Form:
    """Images and labels in the same folders `below` theirs."""
    images, labels = folders
    return Form(
        tuple(
            (f"{folder}/{part}", *(f"{labels_folder}/{part}" for labels_folder in labels))
            for folder in images
            for part in below
        ),
        "_rgb_anon",
        LABELS,
    )


#: All frames of a split in one folder is what DAFormer's instructions make of it.
ACDC = (
    _form(ACDC_FOLDERS, *(f"{condition}/{{split}}" for condition in CONDITIONS)),
    _form(ACDC_FOLDERS, "{split}"),
)
#: Images by night; those to train on have no label.
DARK_ZURICH = (_form(DARK_ZURICH_FOLDERS, "{split}/night"),)
