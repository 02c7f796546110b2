(() => {
  const folded = () => document.querySelectorAll("details");
  addEventListener("beforeprint", () => folded().forEach((d) => { d.dataset.was = d.open; d.open = true; }));
  addEventListener("afterprint", () => folded().forEach((d) => { d.open = d.dataset.was === "true"; }));
  const contents = document.querySelector(".contents details");
  if (contents && matchMedia("(max-width: 70rem)").matches) contents.open = false;
  const links = new Map([...document.querySelectorAll(".contents a")].map((a) => [a.hash.slice(1), a]));
  if (!("IntersectionObserver" in window)) return;
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((a) => a.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "location");
    }
  }, { rootMargin: "0px 0px -80% 0px" });
  links.forEach((_, id) => { const target = document.getElementById(id); if (target) seen.observe(target); });
})();
