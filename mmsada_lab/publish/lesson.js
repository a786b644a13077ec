// A link into a fold opens it; the contents close when they have led somewhere; figures fit what is unfolded.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let fold = target?.closest("details.fold"); fold; fold = fold.parentElement.closest("details.fold")) fold.open = true;
  target?.scrollIntoView();
};
addEventListener("hashchange", reveal);
addEventListener("load", () => { if (location.hash) reveal(); });
const contents = document.querySelector(".contents");
const close = () => { contents.open = false; };
contents?.querySelector("nav").addEventListener("click", (event) => { if (event.target.closest("a")) close(); });
contents?.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  close();
  contents.querySelector("summary").focus();
});
document.addEventListener("click", (event) => { if (contents?.open && !contents.contains(event.target)) close(); });
for (const fold of document.querySelectorAll("details.fold")) {
  fold.addEventListener("toggle", () => {
    for (const plot of fold.querySelectorAll(".js-plotly-plot")) window.Plotly?.Plots.resize(plot);
  });
}
