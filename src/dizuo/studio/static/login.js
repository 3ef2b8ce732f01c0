// The sign-in page: sends the form to the API, says what went wrong, goes on to where one wanted to be.
"use strict";

const form = document.querySelector("form");
const problem = document.getElementById("problem");
const value = (id) => document.getElementById(id).value;

function say(text) {
  problem.textContent = text;
  problem.hidden = !text;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const link = form.id === "link";
  if (link && value("password") !== value("again")) {
    say(form.dataset.differ);
    document.getElementById("again").focus();
    return;
  }
  const button = form.querySelector("button[type=submit]");
  button.disabled = true;
  try {
    const answer = await fetch(link ? "/api/session/link" : "/api/session", {
      method: "POST",
      headers: { "Content-Type": "application/json", "Accept-Language": document.documentElement.lang },
      body: JSON.stringify(
        link
          ? { token: form.dataset.token, password: value("password") }
          : { name: value("name"), password: value("password") },
      ),
    });
    if (answer.ok) {
      location.replace(form.dataset.next);
      return;
    }
    say((await answer.json()).error.message);
  } catch {
    say(form.dataset.lost);
  }
  button.disabled = false;
  document.getElementById("password").focus();
});

document.getElementById("language").addEventListener("click", (event) => {
  document.cookie = `dizuo_language=${event.target.dataset.language}; path=/; max-age=31536000; samesite=lax`;
  location.reload();
});

form.querySelector("input").focus();
