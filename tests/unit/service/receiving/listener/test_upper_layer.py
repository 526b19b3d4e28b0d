import pytest
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from service.receiving.listener.upper_layer import p_data_tf


@pytest.mark.parametrize("fragment", [b"\x03", b"\x01" + b"ab" * 100, b"\x02" + bytes(70_000)])
@pytest.mark.parametrize("context_id", [1, 2, 255])
def test_a_fragment_is_encoded_as_pynetdicom_does(context_id: int, fragment: bytes) -> None:
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((context_id, fragment))
    assert p_data_tf(context_id, fragment) == P_DATA_TF(primitive).encode()
