from workflows.common.settings import get_settings
from workflows.passengers import files as passenger_files

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def load_passengers(*args, **kwargs):
    """Load and validate the passengers; fractions leave as text, which the SQL block types again.

    Mage would upload a floating-point column as DECIMAL(18,3) and lose digits.
    """
    return passenger_files.as_sql_text(passenger_files.load_passengers(get_settings().passengers_source))
