"""Errors of published models: catalogue, download, export."""

from __future__ import annotations

from service.errors.services import ServiceError


class ModelPullError(ServiceError):
    """A published model cannot be pulled."""

    code = "model_pull_error"
    retryable = False


class CatalogueInvalid(ModelPullError):
    """The catalogue of models cannot be read."""

    code = "catalogue_invalid"


class CatalogueEntryUnknown(ModelPullError):
    """The catalogue has no model of this name."""

    code = "catalogue_entry_unknown"


class LicenceNotAccepted(ModelPullError):
    """A licence of the model is not accepted."""

    code = "licence_not_accepted"


class ModelDownloadFailed(ModelPullError):
    """The model file cannot be downloaded, or not all of it."""

    code = "model_download_failed"
    retryable = True


class ModelFileTooLarge(ModelPullError):
    """The model file is larger than the catalogue allows."""

    code = "model_file_too_large"


class ModelFileMismatch(ModelPullError):
    """The model file is not the one that the catalogue names."""

    code = "model_file_mismatch"


class ModelFileMissing(ModelPullError):
    """The model file is not there, or cannot be read or written."""

    code = "model_file_missing"


class TrainingCodeMissing(ModelPullError):
    """The export of a model needs the training code, which is not installed here."""

    code = "training_code_missing"


class ModelExportFailed(ModelPullError):
    """The model file cannot be exported."""

    code = "model_export_failed"
