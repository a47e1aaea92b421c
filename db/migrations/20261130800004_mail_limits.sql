-- migrate:up
-- Mail that a company or a stranger causes is limited: by company, by address over all companies, and by the reader's wish.
set local role neurant_owner;

create table public.mail_refusals (
  key_digest bytea primary key check (octet_length(key_digest) = 32),
  refused_at timestamptz not null default now()
);
comment on table public.mail_refusals is
  'Addresses that want no more invitations, as private.mail_key(''invitation'', address): no address is kept.';
alter table public.mail_refusals enable row level security, force row level security;
create policy router_select on public.mail_refusals for select to neurant_router using (true);
create policy router_insert on public.mail_refusals for insert to neurant_router with check (true);
create policy router_delete on public.mail_refusals for delete to neurant_router using (true);
grant select, insert, delete on public.mail_refusals to neurant_router;

create function private.invitations_a_day(p_company uuid, p_now timestamptz default now())
returns integer
language sql stable security definer set search_path = '' as $$
  select case
      when c.subscription_status = 'trialing' or c.subscription_plan = 'free'
        then case when c.created_at > p_now - interval '7 days' then 10 else 20 end
      when c.subscription_plan = 'starter' then 60
      when c.subscription_plan = 'professional' then 150
      when c.subscription_plan = 'business' then 300
      else 1000 end
  from public.companies c where c.id = p_company
$$;
comment on function private.invitations_a_day(uuid, timestamptz) is
  'How many invitation mails a company may send in 24 hours: new, renewed, and invited again after cancelling; half of them in an hour (ten at least). Who pays may send more, and a free company more after its first week. Definer: called by definers.';

create function private.check_invitation_mail(
  p_company uuid, p_to text, p_is_reminder boolean, p_now timestamptz default now()) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_day integer := private.invitations_a_day(p_company, p_now);
  v_limit record;
begin
  if exists (
    select from public.mail_refusals r
    where r.key_digest = (select private.mail_key('invitation', lower(p_to))))
  then
    raise exception 'the address wants no invitations' using errcode = 'NA007',
      detail = '{"scope": "refused", "seconds": 0}';
  end if;
  -- Two companies that write to one address count one after the other. (A company's own row is locked.)
  perform pg_advisory_xact_lock(hashtextextended('invitation mail to ' || lower(p_to), 0));
  for v_limit in
    select l.scope, min(m.created_at) + l.life - p_now as wait, count(*) as sent, l.most
    from (values
      ('address', null::uuid, lower(p_to), interval '1 day', 10),
      ('address', null, lower(p_to), interval '7 days', 20),
      ('company', p_company, null, interval '1 hour', greatest(v_day / 2, 10)),
      ('company', p_company, null, interval '1 day', v_day)) l (scope, company, address, life, most)
    join public.mails m on m.created_at > p_now - l.life
      and case l.scope
        when 'address' then m.to_address = l.address and m.template in ('team.invitation', 'team.reminder')
        else m.company_id = l.company and m.template = 'team.invitation' end
    where l.scope = 'address' or not p_is_reminder
    group by l.scope, l.life, l.most
    having count(*) >= l.most
    order by l.life desc limit 1
  loop
    raise exception 'too many invitation mails' using errcode = 'NA007',
      detail = jsonb_build_object('scope', v_limit.scope,
        'seconds', greatest(ceil(extract(epoch from v_limit.wait)), 1), 'allowed', v_limit.most)::text;
  end loop;
end $$;
comment on function private.check_invitation_mail(uuid, text, boolean, timestamptz) is
  'Raises NA007 with {"scope", "seconds"} where an invitation must not be mailed: refused (the address wants none), address (ten a day or twenty a week from all companies together), company (private.invitations_a_day). Definer: mails are nobody''s to read.';

create function private.refuse_invitations(p_key_digest bytea, p_refuse boolean default true)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
begin
  if not p_refuse then
    delete from public.mail_refusals r where r.key_digest = p_key_digest;
    return;
  end if;
  insert into public.mail_refusals (key_digest) values (p_key_digest) on conflict do nothing;
  for v_company in
    select i.company_id from public.user_invitations i
    where i.status = 'pending' and private.mail_key('invitation', i.email) = p_key_digest
    order by i.company_id
  loop
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'cancelled'
    where i.company_id = v_company and i.status = 'pending'
      and private.mail_key('invitation', i.email) = p_key_digest;
  end loop;
end $$;
comment on function private.refuse_invitations(bytea, boolean) is
  'Whoever holds a mailed, signed link wants no more invitations from anybody (those that wait are cancelled), or wants them again. Definer: the reader is nobody here.';

grant execute on function private.mail_key(text, text), private.invitations_a_day(uuid, timestamptz),
  private.check_invitation_mail(uuid, text, boolean, timestamptz) to neurant_router;
grant execute on function private.refuse_invitations(bytea, boolean) to neurant_app;
alter function private.invitations_a_day(uuid, timestamptz) owner to neurant_router;
alter function private.check_invitation_mail(uuid, text, boolean, timestamptz) owner to neurant_router;
alter function private.refuse_invitations(bytea, boolean) owner to neurant_router;
reset role;

set local role neurant_router;
create or replace function private.queue_mail(
  p_new_id uuid, p_company uuid, p_to text, p_template text, p_language text,
  p_params_encrypted bytea) returns void
language plpgsql security definer set search_path = '' as $$
begin
  if p_company is not null and current_setting('role') in ('authenticated', 'neurant_worker')
    and p_company is distinct from private.company_id()
  then
    raise exception 'mail is queued for one''s own company' using errcode = 'insufficient_privilege';
  end if;
  if p_template in ('team.invitation', 'team.reminder') then
    perform private.check_invitation_mail(p_company, p_to, p_template = 'team.reminder');
  end if;
  insert into public.mails (id, company_id, to_address, template, language, params_encrypted)
  values (p_new_id, p_company, p_to, p_template, p_language, p_params_encrypted);
end $$;
comment on function private.queue_mail(uuid, uuid, text, text, text, bytea) is
  'A mail leaves when the caller''s transaction commits, and never if it does not. An invitation beyond the limits, or to somebody who wants none, is NA007 (private.check_invitation_mail). Definer: nobody who serves traffic reads what waits.';

create or replace function private.allow_mail(
  p_purpose text, p_email text, p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_key bytea := private.mail_key(p_purpose, p_email);
  v_day timestamptz[];
  v_hour timestamptz[];
begin
  insert into public.account_brakes as b (key_digest, touched_at) values (v_key, p_now)
  on conflict (key_digest) do update set touched_at = greatest(b.touched_at, p_now);
  select coalesce(array_agg(s.at order by s.at), '{}') into v_day
  from public.account_brakes b cross join lateral unnest(b.mailed_at) s (at)
  where b.key_digest = v_key and s.at > p_now - interval '1 day';
  v_hour := array(select s.at from unnest(v_day) s (at) where s.at > p_now - interval '1 hour' order by s.at);
  if v_day[cardinality(v_day)] > p_now - interval '60 seconds' then
    return ceil(extract(epoch from v_day[cardinality(v_day)] + interval '60 seconds' - p_now));
  elsif cardinality(v_hour) >= 5 then
    return ceil(extract(epoch from v_hour[1] + interval '1 hour' - p_now));
  elsif cardinality(v_day) >= 30 then
    return ceil(extract(epoch from v_day[1] + interval '1 day' - p_now));
  end if;
  update public.account_brakes b set mailed_at = v_day || p_now where b.key_digest = v_key;
  return 0;
end $$;
comment on function private.allow_mail(text, text, timestamptz) is
  'Whether an address may be written to for this purpose (sign_up, verification, reset): 0 (and it is counted), or the seconds until then. A minute between two, five an hour, thirty a day; addresses without an account count the same. Definer, as brake.';
reset role;
-- migrate:down
