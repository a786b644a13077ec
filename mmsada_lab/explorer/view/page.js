// The offline page: a stand-in for the widget's model, made of two JSON elements of the page.
// #scene holds the scene, #clips {modality: [base64 of each row's strip, "" where there is none]}.
function pageModel(scene, clips) { // state in memory, and clips out of the page
  const values = { scene, selected: [], pinned: "", view: "" };
  const callbacks = {};
  const tell = (event, ...parts) => { for (const callback of callbacks[event] ?? []) callback(...parts); };
  return {
    get: (name) => values[name],
    set: (name, value) => { values[name] = value; tell(`change:${name}`); },
    save_changes: () => {},
    on: (event, callback) => (callbacks[event] ??= new Set()).add(callback),
    off: (event, callback) => callbacks[event]?.delete(callback),
    send: ({ rows }) => setTimeout(() => Object.entries(clips ?? {}).forEach(([modality, strips]) => {
      const parts = strips.slice(...rows).map(atob);
      const sizes = parts.map((part) => part.length);
      tell("msg:custom", { kind: "clips", modality, rows, sizes }, [bytesOfLetters(parts.join(""))]);
    })),
  };
}

const held = (id) => JSON.parse(document.getElementById(id).textContent);
document.documentElement.style.colorScheme = "light dark";
document.body.style.background = "light-dark(#ffffff, #17191d)";
if (window !== window.top) document.getElementById("back")?.remove(); // it stands within the page that it leads to
render({ model: pageModel(held("scene"), held("clips")), el: document.getElementById("explorer") });
