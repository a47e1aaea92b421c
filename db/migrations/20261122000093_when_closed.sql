-- migrate:up
-- A company that is closed knows since when, however it was closed: its thirty days are counted from there.
set local role neurant_owner;

create function private.note_closing() returns trigger
language plpgsql set search_path = '' as $$
begin
  -- The end of a trial that was over long ago is not when the company was closed.
  if new.subscription_ends_at is null or tg_op = 'UPDATE'
    and old.subscription_status <> 'cancelled'
    and new.subscription_ends_at is not distinct from old.subscription_ends_at then
    new.subscription_ends_at := now();
  end if;
  return new;
end $$;
comment on function private.note_closing() is
  'A closed company without a moment of its own was closed now.';

create trigger note_closing before insert or update of subscription_status, subscription_ends_at
  on public.companies
  for each row when (new.subscription_status = 'cancelled')
  execute function private.note_closing();

reset role;
update public.companies set subscription_ends_at = now()
where subscription_status = 'cancelled' and subscription_ends_at is null;
-- migrate:down
