for (const pair of document.querySelectorAll(".pair")) {
  const knob = document.createElement("input");
  Object.assign(knob, { type: "range", min: 0, max: 100, step: 0.1, value: 50 });
  knob.setAttribute("aria-label", "Share of the target shown, from the left");
  knob.addEventListener("input", () => pair.style.setProperty("--at", knob.value + "%"));
  pair.append(knob);
  pair.closest(".pictures").classList.add("live");
}
