package main

import "testing"

func TestTargetOf(t *testing.T) {
	peers := []peerReport{
		{Name: "home", Services: []string{"cam", "web", "office"}},
		{Name: "office", Services: []string{"web"}},
	}
	for given, want := range map[string]string{
		"home":                                  "home/",
		"home/cam":                              "home/cam",
		"HOME/Cam":                              "home/cam",
		"cam":                                   "home/cam",
		"web":                                   "web/",    // two have it
		"office":                                "office/", // a peer too
		"nobody":                                "nobody/",
		"rtsp://127.0.0.1:8554/home/cam":        "home/cam",
		"rtsp://127.0.0.1:8554/home/cam/sub?x=": "home/cam",
		"rtsp://localhost:8554/cam":             "home/cam",
		"http://web.home.localhost:7480/a/b":    "home/web",
		"http://cam.localhost:7480":             "home/cam",
	} {
		got, err := targetOf(given, peers)
		if err != nil || got.String() != want {
			t.Errorf("%q is %v, %v; want %s", given, got, err, want)
		}
	}
	for _, given := range []string{"", "/cam", "rtsp://127.0.0.1:8554", "http://%zz/"} {
		if got, err := targetOf(given, peers); err == nil {
			t.Errorf("%q is %v", given, got)
		}
	}
}
