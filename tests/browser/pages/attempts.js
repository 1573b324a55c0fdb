// Every way a page has to send a request. Each takes a URL and says, if it could, what it read.
const within = (promise, ms) => Promise.race([promise, new Promise((done) => setTimeout(done, ms))]);
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const element = (tag, fields) => {
  const made = Object.assign(document.createElement(tag), fields);
  document.body.append(made);
  return pause(50);
};
const form = (method, target, url) => {
  const frame = Object.assign(document.createElement("iframe"), { name: target });
  const made = Object.assign(document.createElement("form"), { method, action: url, target });
  const query = new URL(url).searchParams.get("try");
  made.append(Object.assign(document.createElement("input"), { name: "try", value: query }));
  document.body.append(frame, made);
  made.submit();
  return pause(50);
};
const sandboxed = (script) => {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts allow-forms";
  frame.srcdoc = script;
  document.body.append(frame);
  return pause(100);
};

const attempts = {
  "fetch": (url) => fetch(url, { mode: "no-cors" }),
  "fetch-bare": (url) => fetch(url, { mode: "no-cors", referrerPolicy: "no-referrer", credentials: "omit" }),
  "fetch-read": (url) => fetch(url).then((response) => response.text()),
  "fetch-keepalive": (url) => fetch(url, { mode: "no-cors", keepalive: true }),
  "post": (url) => fetch(url, { method: "POST", mode: "no-cors", body: "x" }),
  "post-bare": (url) => fetch(url, { method: "POST", mode: "no-cors", body: "x", referrerPolicy: "no-referrer" }),
  "put": (url) => fetch(url, { method: "PUT", headers: { "x-attache": "1" } }).then((response) => response.text()),
  "xhr": (url) => new Promise((done) => {
    const xhr = new XMLHttpRequest();
    xhr.onloadend = () => done(xhr.responseText);
    xhr.open("GET", url);
    xhr.send();
  }),
  "beacon": (url) => navigator.sendBeacon(url, "x"),
  "image": (url) => element("img", { src: url }),
  "image-bare": (url) => element("img", { referrerPolicy: "no-referrer", src: url }),
  "script": (url) => element("script", { src: url }),
  "style": (url) => element("link", { rel: "stylesheet", href: url }),
  "prefetch": (url) => element("link", { rel: "prefetch", href: url }),
  "frame": (url) => element("iframe", { src: url }),
  "frame-bare": (url) => element("iframe", { referrerPolicy: "no-referrer", src: url }),
  "object": (url) => element("object", { data: url }),
  "embed": (url) => element("embed", { src: url }),
  "video": (url) => element("video", { src: url }),
  "audio": (url) => element("audio", { src: url }),
  "form-get": (url) => form("GET", "get" + Math.random(), url),
  "form-post": (url) => form("POST", "post" + Math.random(), url),
  "events": (url) => new Promise((done) => {
    const events = new EventSource(url);
    events.onerror = () => done(events.close());
  }),
  "websocket": (url) => new Promise((done) => {
    const socket = new WebSocket(url.replace("http", "ws"));
    socket.onclose = socket.onerror = () => done();
  }),
  "worker": (url) => new Promise((done) => {
    const text = `try { importScripts(${JSON.stringify(url)}) } catch {} postMessage(1)`;
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    worker.onmessage = worker.onerror = () => done();
  }),
  "module": (url) => import(url).then(() => 0),
  "sandbox-fetch": (url) => sandboxed(`<script>fetch(${JSON.stringify(url)}, { mode: "no-cors" })<\/script>`),
  "sandbox-image": (url) => sandboxed(`<img src=${JSON.stringify(url)}>`),
  "sandbox-form": (url) => sandboxed(
    `<form method=post action=${JSON.stringify(url)}></form><script>document.forms[0].submit()<\/script>`),
  "window": (url) => {
    const opened = window.open(url);
    return pause(300).then(() => opened && opened.close());
  },
};

// Tries all at each of `doors` ({name: url with a place for the mark}) and returns what could be read.
const tryAll = async (doors) => {
  const read = [];
  await Promise.all(Object.entries(doors).map(async ([door, base]) => {
    for (const [name, attempt] of Object.entries(attempts)) {
      const mark = `${door}.${name}`;
      const url = base + (base.includes("?") ? "&" : "?") + "try=" + mark;
      try {
        const text = await within(attempt(url), 2000);
        if (typeof text === "string" && text) read.push([mark, text.slice(0, 200)]);
      } catch {
        // It could not even be sent, or not be read: the other side knows which.
      }
    }
  }));
  await pause(500);
  return read;
};

const report = (to, body) => fetch(to, { method: "POST", mode: "no-cors", body: JSON.stringify(body) });
