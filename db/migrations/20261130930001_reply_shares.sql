-- migrate:up
-- A worker tells how many replies of one company it makes at once, so that a company with many
-- replies to make leaves places for the replies of others. Without these two arguments the function
-- does what it did before.
drop function private.claim_replies(integer, interval);
create function private.claim_replies(
  p_limit integer, p_lease interval, p_share integer default null, p_running uuid[] default '{}')
returns table (company_id uuid, conversation_id uuid, wanted_seq bigint, claim_token uuid, attempts integer)
language sql volatile security definer set search_path = '' as $$
  with recursive company as (
    -- A loose index scan: one step per company that waits, however many requests each has.
    (select r.company_id from public.reply_requests r order by r.company_id limit 1)
    union all
    select (select r.company_id from public.reply_requests r
      where r.company_id > k.company_id order by r.company_id limit 1)
    from company k where k.company_id is not null
  ),
  waiting as (
    select w.company_id, w.conversation_id,
      w.turn + (select count(*) from public.reply_requests busy
        where busy.company_id = k.company_id and busy.claimed_until > now()) as turn,
      w.due_at
    from company k
    join public.companies c on c.id = k.company_id
      and c.subscription_status not in ('cancelled', 'inactive')
    cross join lateral (
      select r.company_id, r.conversation_id, r.due_at,
        row_number() over (order by r.due_at) as turn
      from public.reply_requests r
      where r.company_id = k.company_id and r.due_at <= now()
        and (r.claimed_until is null or r.claimed_until <= now())
      order by r.due_at limit p_limit) w
    where k.company_id is not null
      and (p_share is null or w.turn <= p_share - cardinality(array_positions(p_running, k.company_id)))
  ),
  chosen as (
    -- Every company's first before any company's second.
    select r.company_id, r.conversation_id
    from public.reply_requests r
    join waiting w on w.company_id = r.company_id and w.conversation_id = r.conversation_id
    where r.claimed_until is null or r.claimed_until <= now()
    order by w.turn, w.due_at
    limit p_limit
    for update of r skip locked
  )
  update public.reply_requests r
  set claim_token = gen_random_uuid(), claimed_until = now() + p_lease, attempts = r.attempts + 1
  from chosen
  where r.company_id = chosen.company_id and r.conversation_id = chosen.conversation_id
  returning r.company_id, r.conversation_id, r.wanted_seq, r.claim_token, r.attempts
$$;
comment on function private.claim_replies(integer, interval, integer, uuid[]) is
  'Leases owed replies, fairly across companies. p_share: a worker has this many of one company at most; p_running: the company of each reply that it has. Definer: the queue holds all companies; only ids leave.';
revoke execute on function private.claim_replies(integer, interval, integer, uuid[]) from public;
grant execute on function private.claim_replies(integer, interval, integer, uuid[]) to neurant_jobs;
alter function private.claim_replies(integer, interval, integer, uuid[]) owner to neurant_router;
-- migrate:down
