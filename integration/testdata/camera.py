"""An RTSP camera for the tests: GStreamer's own server with a test picture.

It prints one line whenever its state changes, and once when it is ready:

    ready rtsp://ADDRESS:PORT/cam
    sessions N connections M

The picture is H264, 30 frames a second, a key frame every half second; with
--audio there is an AAC tone as well. With --password NAME:PASSWORD it wants
that. It ends when its standard input does.
"""

import argparse
import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

VIDEO = (
    "videotestsrc is-live=true pattern=ball"
    " ! video/x-raw,width=320,height=240,framerate=30/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast bitrate=400 key-int-max=15 threads=1"
    " ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1"
)
AUDIO = (
    "audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=1"
    " ! avenc_aac bitrate=32000 ! aacparse ! rtpmp4gpay name=pay1 pt=97"
)


def say(*words):
    print(*words, flush=True)


class Camera:
    def __init__(self, options):
        self.connections = 0
        self.said = None
        self.session_timeout = options.session_timeout
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address(options.address)
        self.server.set_service("0")  # any free port
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch("( " + VIDEO + (" " + AUDIO if options.audio else "") + " )")
        factory.set_shared(True)
        if options.password:
            self.want_password(factory, *options.password.split(":", 1))
        self.server.get_mount_points().add_factory("/cam", factory)
        self.server.connect("client-connected", self.client_connected)

    def want_password(self, factory, name, password):
        auth = GstRtspServer.RTSPAuth()
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_digest(name, password, token)
        permissions = GstRtspServer.RTSPPermissions()
        permissions.add_permission_for_role("viewer", "media.factory.access", True)
        permissions.add_permission_for_role("viewer", "media.factory.construct", True)
        factory.set_permissions(permissions)
        self.server.set_auth(auth)

    def client_connected(self, _server, client):
        self.connections += 1
        client.connect("new-session", lambda _client, session: session.set_timeout(self.session_timeout))
        client.connect("closed", self.client_closed)
        self.tell()

    def client_closed(self, _client):
        self.connections -= 1
        self.tell()

    def tell(self):
        pool = self.server.get_session_pool()
        pool.cleanup()
        now = (pool.get_n_sessions(), self.connections)
        if now != self.said:
            self.said = now
            say("sessions", now[0], "connections", now[1])
        return True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--audio", action="store_true")
    parser.add_argument("--password")
    parser.add_argument("--session-timeout", type=int, default=15)
    options = parser.parse_args()

    Gst.init(None)
    camera = Camera(options)
    if camera.server.attach(None) == 0:
        sys.exit("cannot listen on " + options.address)
    loop = GLib.MainLoop()
    GLib.timeout_add(20, camera.tell)
    GLib.io_add_watch(sys.stdin.fileno(), GLib.PRIORITY_DEFAULT, GLib.IOCondition.HUP, lambda *_: loop.quit())
    camera.tell()
    say("ready", "rtsp://%s:%d/cam" % (options.address, camera.server.get_bound_port()))
    loop.run()


main()
