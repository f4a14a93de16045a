# A camera for tests: GStreamer's RTSP server, driven over stdin and stdout.
#
#   camera.py AUTH VIDEO      AUTH: none, basic or digest (user "admin", password "se:cr/et")
#                             VIDEO: a GStreamer video source
#   <- ready PORT             it serves rtsp://127.0.0.1:PORT/live
#   -> stat
#   <- stat CLIENTS SESSIONS PLAYS TEARDOWNS
#
# It ends when stdin does.
import sys
import gi
gi.require_version('Gst', '1.0')
gi.require_version('GstRtsp', '1.0')
gi.require_version('GstRtspServer', '1.0')
from gi.repository import Gst, GstRtsp, GstRtspServer, GLib

Gst.init(None)
auth, video = sys.argv[1], sys.argv[2]
loop = GLib.MainLoop()
server = GstRtspServer.RTSPServer()
server.set_address('127.0.0.1')
server.set_service('0')

factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    '( ' + video + ' is-live=1 ! video/x-raw,width=160,height=120,framerate=20/1 !'
    ' x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 !'
    ' rtph264pay name=pay0 pt=96 config-interval=1'
    ' audiotestsrc is-live=1 ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0 )')
factory.set_shared(False)  # a shared pipeline that is being stopped answers 503

if auth != 'none':
    a = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string('media.factory.role', 'viewer')
    if auth == 'basic':
        a.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        a.add_basic(GstRtspServer.RTSPAuth.make_basic('admin', 'se:cr/et'), token)
    else:
        a.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        a.add_digest('admin', 'se:cr/et', token)
    server.set_auth(a)
    factory.add_role_from_structure(Gst.Structure.new_from_string(
        'viewer, media.factory.access=(boolean)true, media.factory.construct=(boolean)true'))

server.get_mount_points().add_factory('/live', factory)
stat = {'clients': 0, 'plays': 0, 'teardowns': 0}

def count(name, by):
    def f(*_):
        stat[name] += by
    return f

def connected(_, client):
    stat['clients'] += 1
    client.connect('closed', count('clients', -1))
    client.connect('play-request', count('plays', 1))
    client.connect('teardown-request', count('teardowns', 1))

server.connect('client-connected', connected)
server.attach(None)

def say(*words):
    print(*words, flush=True)

def command(channel, condition):
    line = sys.stdin.readline()
    if not line:
        loop.quit()
        return False
    say('stat', stat['clients'], server.get_session_pool().get_n_sessions(), stat['plays'], stat['teardowns'])
    return True

GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, command)
say('ready', server.get_bound_port())
loop.run()
