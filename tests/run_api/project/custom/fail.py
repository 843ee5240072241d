import sys

from workflows.common.errors import InvalidInputError, NotReadyError, ServiceError

if "custom" not in globals():
    from mage_ai.data_preparation.decorators import custom


@custom
def fail(*args, **kwargs):
    match kwargs.get("how"):
        case "invalid":
            raise InvalidInputError("the passenger cannot be read", {"age": "is not a number", "sex": "is unknown"})
        case "not_ready":
            raise NotReadyError("no model yet: run pipeline ml_training_and_inference")
        case "service":
            raise ServiceError("the language model did not answer")
        case "exit":
            sys.exit(3)
        case "unserialisable":
            return object()
        case "circular":
            circle = []
            circle.append(circle)
            return {"circle": circle}
    raise RuntimeError("a secret of the inside: hunter2")
