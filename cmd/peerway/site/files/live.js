"use strict";
const show = (id, text) => { document.getElementById(id).textContent = text; };

show("here", location.host);
// Each port of the gateway takes both protocols.
show("play", `ffplay rtsp://127.0.0.1:${location.port || 80}/home/cam`);

// The clock of the machine at the other end, over one connection that stays open.
const ticks = new EventSource("clock");
ticks.onmessage = (event) => {
  const there = new Date(event.data);
  show("clock", there.toLocaleTimeString());
  show("clock-note", "live, over one open connection");
};
ticks.onerror = () => show("clock-note", "the connection broke; trying again");

const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const trips = [];
async function measure() {
  const start = performance.now();
  try {
    const answer = await (await fetch("request", { cache: "no-store" })).json();
    trips.push(performance.now() - start);
    if (trips.length > 15) trips.shift();
    show("trip", median(trips).toFixed(1));
    show("trip-note", trips.length < 2 ? "the first one" : `median of the last ${trips.length}`);
    show("there", "sees " + answer.from);
  } catch {
    show("trip-note", "no answer; trying again");
  }
}
measure();
setInterval(measure, 2000);
