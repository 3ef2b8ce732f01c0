// What the pages do in the browser itself: keys, focus, uploads, copying. No framework, no build.
"use strict";

const studio = (() => {
  const csrf = () => document.querySelector('meta[name="csrf-token"]').content;
  const $ = (selector, root = document) => root.querySelector(selector);
  const headers = () => ({ "X-CSRF-Token": csrf(), "Accept-Language": document.documentElement.lang });
  let opener = null; // where the focus goes back to when the source panel closes

  // --- choices that outlive the page ---------------------------------------------------------------------------

  function remember(name, value) {
    document.cookie = `dizuo_${name}=${value}; path=/; max-age=31536000; samesite=lax`;
    if (name === "language") document.documentElement.lang = value === "zh" ? "zh-CN" : "en-US";
    if (name === "theme") document.documentElement.dataset.theme = value;
  }

  async function signOut() {
    await fetch("/api/session", { method: "DELETE", headers: headers() });
    location.assign("/login");
  }

  // --- small helpers that the server calls ---------------------------------------------------------------------

  const open = (id) => {
    const dialog = document.getElementById(id);
    if (dialog && !dialog.open) dialog.showModal();
  };
  const close = (id) => document.getElementById(id)?.close();
  const go = (path) => location.assign(path);
  const address = (path, push) => history[push ? "pushState" : "replaceState"](null, "", path);
  const focus = (selector) => $(selector)?.focus();

  // What had the focus may be gone; from the top of the page a keyboard would have a long way back.
  function refocus() {
    if (document.activeElement === document.body) $(".frame.open #sidebar a, #main:not([inert])").focus({ preventScroll: true });
  }

  // Above an open dialog as well: what is shown last lies on top.
  function raise(id) {
    const element = document.getElementById(id);
    if (!element.showPopover) return;
    if (element.matches(":popover-open")) element.hidePopover();
    element.showPopover();
  }

  const reveal = (id) => document.getElementById(id)?.scrollIntoView({ block: "center" });
  const toTop = () => scrollTo({ top: 0 });

  // Fields keep what is typed; the server sets them only when it means to.
  function fill(id, value) {
    const field = document.getElementById(id);
    field.value = value;
    field.select();
  }
  function select(id, value) {
    document.getElementById(id).value = value;
  }
  // What was sent leaves its field; what was typed since stays.
  function sent(id, value) {
    const field = document.getElementById(id);
    if (field.value === value) field.value = "";
  }

  // A click that should stay on this page: true, and the browser does not follow the link.
  function plain(event) {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button) return false;
    event.preventDefault();
    drawer(false);
    return true;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without https there is no clipboard interface; the old way still works.
      const area = document.createElement("textarea");
      area.value = text;
      area.className = "unseen";
      document.body.append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) return;
    }
    emitEvent("studio_copied");
  }

  // Keeps the end of a growing answer in sight, unless the reader has scrolled away from it.
  function keepUp(always) {
    const root = document.scrollingElement;
    if (always || root.scrollHeight - root.scrollTop - innerHeight < 160) root.scrollTo({ top: root.scrollHeight });
  }

  // What an open drawer covers, or a source that fills the screen, is out of reach of keys and screen readers.
  const drawers = matchMedia("(width <= 860px)");
  const fullPanels = matchMedia("(width <= 520px)");
  let panelOpen = false;

  function cover() {
    const byDrawer = drawers.matches && $(".frame").classList.contains("open");
    const byPanel = fullPanels.matches && panelOpen;
    $("#main").inert = byDrawer;
    for (const one of document.querySelectorAll(".talk, .topbar")) one.inert = byPanel;
    for (const one of document.querySelectorAll(".skip, .topbar > a")) one.inert = byPanel || byDrawer;
  }
  for (const width of [drawers, fullPanels]) width.addEventListener("change", cover);

  function showPanel() {
    const panel = $("#panel");
    const mark = $("mark", panel);
    if (matchMedia("(width <= 1180px)").matches) document.documentElement.classList.add("still");
    panelOpen = true;
    cover();
    $("[data-panel-title]", panel)?.focus({ preventScroll: true });
    if (mark) {
      const body = $("[data-panel-body]", panel);
      body.scrollTop += mark.getBoundingClientRect().top - body.getBoundingClientRect().top - body.clientHeight / 3;
    }
  }

  function hidePanel() {
    document.documentElement.classList.remove("still");
    panelOpen = false;
    cover();
    if (opener?.isConnected) opener.focus();
    opener = null;
  }

  function showMark() {
    ($("main mark") ?? $("main [data-target]"))?.scrollIntoView({ block: "center" });
  }

  // --- the drawer of narrow screens ----------------------------------------------------------------------------

  function drawer(wanted) {
    const frame = $(".frame");
    const button = $("[data-drawer]");
    if (!frame || frame.classList.contains("open") === wanted) return;
    frame.classList.toggle("open", wanted);
    button.setAttribute("aria-expanded", wanted);
    cover();
    if (wanted) $("#sidebar a, #sidebar button").focus();
    else if (!$("#main").contains(document.activeElement)) button.focus();
  }

  // --- the question --------------------------------------------------------------------------------------------

  function grow(area) {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, innerHeight * 0.4)}px`;
  }

  function ask() {
    const area = $("#question");
    const form = area.closest("form");
    const question = area.value.trim();
    if (!question || form.dataset.busy === "true" || form.dataset.off === "true") return;
    area.value = "";
    sessionStorage.removeItem("dizuo_question");
    grow(area);
    emitEvent("studio_ask", question);
  }

  // --- uploads -------------------------------------------------------------------------------------------------

  const BATCH_FILES = 200;
  const BATCH_BYTES = 256 * 2 ** 20;
  let upload = null; // the request in flight

  async function filesOf(transfer) {
    const found = [];
    const walk = async (entry, path) => {
      if (entry.isFile) {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
        if (file) found.push([file, path + entry.name]);
      } else if (entry.isDirectory) {
        const reader = entry.createReader();
        for (;;) {
          // A reader gives a hundred at a time, and an empty list at the end.
          const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => []);
          if (!some.length) break;
          for (const one of some) await walk(one, `${path}${entry.name}/`);
        }
      }
    };
    // Entries must be taken before the first await; afterwards the browser has emptied the list.
    const items = [...transfer.items].filter((item) => item.kind === "file");
    const dropped = items.map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
    for (const [entry, file] of dropped) {
      if (entry) await walk(entry, "");
      else if (file) found.push([file, file.name]);
    }
    return found;
  }

  function batches(files) {
    const all = [[]];
    let bytes = 0;
    for (const one of files) {
      const last = all.at(-1);
      if (last.length && (last.length >= BATCH_FILES || bytes + one[0].size > BATCH_BYTES)) {
        all.push([]);
        bytes = 0;
      }
      all.at(-1).push(one);
      bytes += one[0].size;
    }
    return all;
  }

  function post(url, batch, onProgress) {
    return new Promise((resolve) => {
      const body = new FormData();
      for (const [file, path] of batch) body.append("files", file, path);
      const request = new XMLHttpRequest();
      upload = request;
      request.open("POST", url);
      for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => onProgress(event.loaded);
      request.onload = () => {
        let message = "";
        try {
          message = JSON.parse(request.responseText).error?.message ?? "";
        } catch {
          message = `HTTP ${request.status}`;
        }
        resolve({ ok: request.status === 202, message });
      };
      request.onerror = () => resolve({ ok: false, message: "" });
      request.onabort = () => resolve({ ok: false, stopped: true, message: "" });
      request.send(body);
    });
  }

  async function send(zone, files) {
    if (!files.length || upload) return;
    const total = files.reduce((sum, [file]) => sum + file.size, 0);
    const state = { files: files.length, done: 0, sent: 0, total, name: "", over: false, ok: true, stopped: false, message: "" };
    let told = 0;
    const tell = (force) => {
      if (!force && performance.now() - told < 150) return;
      told = performance.now();
      emitEvent("studio_upload", { ...state });
    };
    tell(true);
    let before = 0;
    for (const batch of batches(files)) {
      const size = batch.reduce((sum, [file]) => sum + file.size, 0);
      const finished = state.done;
      const answer = await post(zone.dataset.upload, batch, (loaded) => {
        let rest = loaded;
        let done = 0;
        while (done < batch.length && rest >= batch[done][0].size) rest -= batch[done++][0].size;
        Object.assign(state, { sent: before + Math.min(loaded, size), done: finished + done });
        state.name = batch[Math.min(done, batch.length - 1)][1];
        tell(false);
      });
      upload = null;
      if (!answer.ok) {
        Object.assign(state, { ok: false, stopped: Boolean(answer.stopped), message: answer.message });
        break;
      }
      before += size;
      Object.assign(state, { sent: before, done: finished + batch.length });
      emitEvent("studio_jobs");
    }
    state.over = true;
    tell(true);
  }

  // The files that were picked in a field; the page hears how that ended.
  async function sendPicked(id, url) {
    const files = [...document.getElementById(id).files].map((file) => [file, file.name]);
    let answer = { ok: true, message: "" };
    for (const batch of batches(files)) {
      answer = await post(url, batch, () => {});
      upload = null;
      if (!answer.ok) break;
    }
    emitEvent("studio_picked", answer);
  }

  // --- listeners: on the document, so that it does not matter when an element comes or goes --------------------

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest?.(selector);
    let found;
    if (at("[data-signout]")) signOut();
    else if ((found = at("[data-open]"))) open(found.dataset.open);
    else if ((found = at("[data-close]"))) found.closest("dialog").close();
    else if ((found = at("[data-copy]"))) copy($(found.dataset.copy).innerText);
    else if (at("[data-drawer]")) drawer(!$(".frame").classList.contains("open"));
    else if (at(".scrim")) drawer(false);
    else if ((found = at("[data-pick]"))) $(found.dataset.pick).click();
    else if (at("[data-upload-stop]")) upload?.abort();
    else if ((found = at("[data-suggest]"))) {
      const area = $("#question");
      area.value = found.innerText;
      ask();
    } else if (event.target.tagName === "DIALOG") {
      const box = event.target.getBoundingClientRect();
      const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (!inside && event.detail) event.target.close();
    }
    if ((found = at("[data-cite]"))) opener = found;
  });

  document.addEventListener("submit", (event) => {
    event.preventDefault();
    if (event.target.matches("[data-composer]")) ask();
  });

  document.addEventListener("input", (event) => {
    if (event.target.id !== "question") return;
    grow(event.target);
    sessionStorage.setItem("dizuo_question", event.target.value); // a page that must load anew loses no words
  });

  document.addEventListener("keydown", (event) => {
    // While an input method composes, Enter picks a word; Safari says so by the key code alone.
    const composing = event.isComposing || event.keyCode === 229;
    if (event.target.id === "question" && event.key === "Enter" && !event.shiftKey && !composing) {
      event.preventDefault();
      ask();
    } else if (event.key === "Escape" && !composing && !$("dialog[open]")) {
      if ($(".frame.open")) drawer(false);
      else $("#panel:not([hidden]) [data-panel-close]")?.click();
    } else if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !composing) {
      if (event.target.matches?.("input, textarea, select, [contenteditable]") || $("dialog[open]")) return;
      const field = $("#question, [data-slash]");
      if (field) {
        event.preventDefault();
        field.focus();
      }
    }
  });

  for (const type of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      const zone = $("[data-upload]");
      if (!zone || ![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
      event.preventDefault(); // else the browser would leave the page for the file
      zone.classList.toggle("over", type === "dragenter" || type === "dragover");
      if (type === "drop") filesOf(event.dataTransfer).then((files) => send(zone, files));
    });
  }

  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-files]")) return;
    const files = [...event.target.files].map((file) => [file, file.webkitRelativePath || file.name]);
    event.target.value = "";
    send($("[data-upload]"), files);
  });

  addEventListener("popstate", () => emitEvent("studio_address", location.pathname + location.search));
  addEventListener("beforeunload", (event) => {
    if (upload) event.preventDefault();
  });

  // A session that ended elsewhere: the socket is refused, so the page must go.
  async function leaveIfSignedOut() {
    const answer = await fetch("/api/session").catch(() => null);
    if (answer?.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  addEventListener("load", () => {
    const wait = setInterval(() => {
      if (!window.socket) return;
      clearInterval(wait);
      window.socket.on("connect_error", leaveIfSignedOut);
    }, 50);
    const question = $("#question");
    if (question && !question.value) {
      question.value = sessionStorage.getItem("dizuo_question") ?? "";
      grow(question);
    }
    if (question && matchMedia("(hover: hover)").matches) question.focus();
  });

  return { remember, open, close, go, address, focus, reveal, toTop, fill, select, sent, raise, refocus, plain, keepUp, showPanel, hidePanel, showMark, sendPicked };
})();
