from pydantic import TypeAdapter

from edge_node.sink import messages
from tests.sink.parts import wait_for


def test_everything_a_node_says_arrives_and_conforms_to_its_declared_type(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    wait_for(lambda: ear.of("status"))
    node.run(1.5, 30)
    node.stop()
    wait_for(lambda: ear.of("status")[-1].json["state"] == "offline")
    assert {h.topic.split("/")[3] for h in ear.heard} == {"status", "info", "health", "pose", "state", "event"}
    for heard in ear.heard:
        kind = messages.PAYLOADS[heard.topic.split("/")[3]]
        TypeAdapter(kind).validate_json(heard.payload, strict=True)
