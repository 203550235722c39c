"""A way between two ports of this machine that a test can cut: `tcp_way.py LISTEN CONNECT`, killed; or by itself, with a third
argument: while that file says "BYTES TIMES", a connection that has carried so many bytes breaks, so many times as are left; or (0)
the way itself ends."""
import os, socket, sys, threading

lock = threading.Lock()
order = sys.argv[3] if len(sys.argv) > 3 else None


def is_cut(carried):
    with lock:
        try:
            most, times = map(int, open(order).read().split())
        except (OSError, TypeError, ValueError):
            return False
        if carried[0] < most:
            return False
        if times == 0:
            os._exit(0)
        if times > 1:
            with open(order + ".new", "w") as file:
                file.write(f"{most} {times - 1}")
            os.rename(order + ".new", order)
        else:
            os.unlink(order)
        return True


def carry(source, target, carried):
    try:
        while data := source.recv(65536):
            carried[0] += len(data)
            if order and is_cut(carried):
                break
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=False)
while True:
    near, _ = listener.accept()
    try:
        far = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    except OSError:
        near.close()
        continue
    carried = [0]
    for pair in ((near, far), (far, near)):
        threading.Thread(target=carry, args=(*pair, carried), daemon=True).start()
