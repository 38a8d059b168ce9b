// Copies text. Over plain HTTP from another machine browsers have no clipboard for scripts, only for selections.

export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const holder = document.createElement('textarea');
  holder.value = text;
  holder.className = 'unseen';
  document.body.append(holder);
  holder.select();
  document.execCommand('copy');
  holder.remove();
}
