import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

// Relative addresses, so that the page works below any path; nothing inlined, so that `default-src 'self'` holds.
export default defineConfig({
  base: './',
  plugins: [svelte({ configFile: false })],
  build: { target: 'es2023', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: { proxy: { '/api': 'http://127.0.0.1:7714' } },
  test: { include: ['src/**/*.test.ts'] },
});
