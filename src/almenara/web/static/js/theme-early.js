// Sets the chosen theme before the first paint; a classic script, because modules run after it.
try {
  const chosen = localStorage.getItem("almenara-theme");
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
} catch { /* storage is off: the system's preference counts */ }
