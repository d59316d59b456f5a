import socket
from pathlib import Path

from console.views import _grpc
from infra.ledger import Ledger
from infra.settings import Settings
from tasks.wiring import House


def test_where_grpc_is_served_is_said_once_it_is_known(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    house = House(settings=settings, ledger=Ledger.open(settings.ledger))
    assert _grpc(house) == {}
    settings.run.mkdir(exist_ok=True)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        (settings.run / "grpc-port").write_text(str(port))
        assert _grpc(house) == {"grpc": f"127.0.0.1:{port} does not answer"}
        server.listen()
        assert _grpc(house) == {"grpc": f"127.0.0.1:{port} answers"}
    house.ledger.close()
