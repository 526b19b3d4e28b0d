"""What metrics say of the model that a worker has loaded."""

from prometheus_client import Gauge

from workers.inference.model_io import AnyPredictor


def publish_model(info: Gauge, predictor: AnyPredictor) -> str:
    """Set the metric that describes a model in its labels; return its name and version."""
    model = predictor.model
    info.labels(
        name=model.name,
        version=model.version,
        weights_sha256=model.weights_sha256[:16],
        operating_point=model.operating_point.name,
        device=predictor.device,
    ).set(1)
    return f"{model.name} {model.version}"
