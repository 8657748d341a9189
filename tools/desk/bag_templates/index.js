"use strict";
(() => {
  const audio = document.getElementById("audio"), picture = document.getElementById("picture");
  const cursor = document.getElementById("cursor"), width = picture.viewBox.baseVal.width;
  const length = Number(audio.dataset.seconds) || 1;
  const gaps = [...document.querySelectorAll(".go")].map((button) => Number(button.dataset.seconds));
  const show = () => cursor.setAttribute("transform", `translate(${width * audio.currentTime / length} 0)`);
  const seek = (seconds) => { audio.currentTime = Math.min(Math.max(seconds, 0), length - 0.01); show(); };
  const play = () => audio.play().catch((error) => { if (error.name !== "AbortError") throw error; });
  const run = () => { show(); if (!audio.paused) requestAnimationFrame(run); };
  for (const event of ["play", "pause", "seeked", "ended"]) audio.addEventListener(event, run);
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    seek(length * (event.clientX - box.left) / box.width);
  });
  for (const button of document.querySelectorAll(".go"))
    button.addEventListener("click", () => seek(Number(button.dataset.seconds)));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("audio, a")) return;
    const next = gaps.find((start) => start > audio.currentTime + 0.05);
    if (event.key === " " && !event.target.closest("button")) { if (audio.paused) play(); else audio.pause(); }
    else if (event.key === "ArrowLeft") seek(audio.currentTime - 5);
    else if (event.key === "ArrowRight") seek(audio.currentTime + 5);
    else if (event.key === "g" && next !== undefined) seek(next);
    else return;
    event.preventDefault();
  });
})();
