from mage_server.callable_blocks import CALLABLE_BLOCKS

WILL_I_SURVIVE = next(block for block in CALLABLE_BLOCKS if block.block == "will_i_survive")


def test_what_the_block_reads_nothing_of_is_named_within_a_variable_too():
    variables = {"About_Me": {"bio": "I swim.", "age": 30, "Sex": "female"}, "lang": "en"}
    known, ignored = WILL_I_SURVIVE.known_variables(variables)
    assert known == {"about_me": variables["About_Me"]}
    assert ignored == ["About_Me.age", "About_Me.Sex", "lang"]


def test_a_variable_of_another_form_is_left_to_the_block():
    assert WILL_I_SURVIVE.known_variables({"about_me": "I swim."}) == ({"about_me": "I swim."}, [])
