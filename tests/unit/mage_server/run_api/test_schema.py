import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mage_server.callable_blocks import CALLABLE_BLOCKS, attribute_schema
from mage_server.run_api import schema
from workflows.passengers.contract import ATTRIBUTES, parse_value


class TestSchema:
    @pytest.mark.parametrize("block", CALLABLE_BLOCKS, ids=lambda block: block.block)
    def test_the_example_obeys_the_schema(self, block):
        found = schema.variables_schema(block)
        jsonschema.Draft202012Validator.check_schema(found)
        jsonschema.validate(block.example, found)

    @pytest.mark.parametrize("column", ATTRIBUTES, ids=lambda column: column.name)
    @given(
        value=st.none()
        | st.integers(-200, 200_000)
        | st.floats(-200, 200_000)
        | st.text(max_size=5)
        | st.sampled_from(["male", "S", "3", "3.0", "1e1", "", "unknown", "nan"])
    )
    def test_what_the_schema_refuses_the_block_refuses(self, column, value):
        """The other way round it may differ: text in another case or with spaces, bounds of numbers in text."""
        validator = jsonschema.Draft202012Validator(attribute_schema(column))
        try:
            parse_value(column, value)
        except ValueError:
            is_fine = False
        else:
            is_fine = True
        if validator.is_valid(value) and not isinstance(value, str):
            assert is_fine
        if is_fine and not isinstance(value, str):
            assert validator.is_valid(value) or column.kind == "text"
