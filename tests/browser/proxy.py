"""A reverse proxy that has the router below a path, as nginx or HAProxy would, and its own pages elsewhere."""

import http.client
import http.server
import threading

PASSED = ("Authorization", "Content-Type", "Host", "Origin", "Sec-Fetch-Site")


class Proxy:
    """Serves `prefix`, with and without a slash at its end, from `target`, a host:port."""

    def __init__(self, prefix: str, target: str):
        self.asked: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                proxy.asked.append(self.path)
                if self.path != prefix and not self.path.startswith((f"{prefix}/", f"{prefix}?")):
                    return self.send_error(404)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name: self.headers[name] for name in PASSED if self.headers[name]}
                connection = http.client.HTTPConnection(target, timeout=20)
                rest = self.path.removeprefix(prefix)
                connection.request(self.command, rest if rest.startswith("/") else f"/{rest}", body, headers)
                answer = connection.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}{prefix}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
