import socket
from pathlib import Path

from console.views import _grpc
from infra.settings import Settings


def test_where_grpc_is_served_is_said_once_it_is_known(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert _grpc(settings) == {}
    settings.run.mkdir(exist_ok=True)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        (settings.run / "grpc-port").write_text(str(port))
        assert _grpc(settings) == {"grpc": f"127.0.0.1:{port} does not answer"}
        server.listen()
        assert _grpc(settings) == {"grpc": f"127.0.0.1:{port} answers"}
