-- The rollup: recounts the figures of each day from the facts.

create function private.recount_day(p_company uuid, p_date date, p_timezone text) returns void
language plpgsql security definer set search_path = '' as $$
declare
  -- Where the clocks go back to midnight there are two, and this finds the second one: what lies
  -- between them is found by looking back, and told by its date below.
  v_from timestamptz := p_date::timestamp at time zone p_timezone - interval '3 hours';
  v_to timestamptz := (p_date + 1)::timestamp at time zone p_timezone;
begin
  delete from public.analytics_daily a where a.company_id = p_company and a.date = p_date;
  insert into public.analytics_daily (company_id, chatbot_id, date,
    total_messages, bot_messages, human_messages, end_user_messages, new_conversations,
    active_conversations, resolved_conversations, avg_conversation_duration_minutes,
    hitl_escalations, hitl_resolution_time_minutes, hitl_satisfaction_avg, avg_response_time_ms,
    response_time_total_ms, response_time_count, total_tokens_used, satisfaction_ratings,
    satisfaction_total, satisfaction_avg, thumbs_up, thumbs_down, knowledge_queries,
    knowledge_hits, knowledge_hit_rate)
  with said as (
    select x.chatbot_id, count(*) as active, sum(x.messages) as messages, sum(x.bot) as bot,
      sum(x.human) as human, sum(x.end_user) as end_user, sum(x.tokens) as tokens,
      sum(x.response_ms) as response_ms, sum(x.responses) as responses
    from (
      select m.chatbot_id, m.conversation_id, count(*) as messages,
        count(*) filter (where m.sender_type = 'bot') as bot,
        count(*) filter (where m.sender_type = 'human') as human,
        count(*) filter (where m.sender_type = 'end_user') as end_user,
        sum(m.tokens_used) as tokens,
        sum(m.processing_time_ms) filter (where m.sender_type = 'bot') as response_ms,
        count(m.processing_time_ms) filter (where m.sender_type = 'bot') as responses
      from private.fact_messages m
      where m.company_id = p_company and m.created_at >= v_from and m.created_at < v_to
        and (m.created_at at time zone p_timezone)::date = p_date
      group by m.chatbot_id, m.conversation_id) x
    group by x.chatbot_id
  ),
  held as (
    select c.chatbot_id, count(*) filter (where c.began) as began,
      count(*) filter (where c.ended and c.status <> 'abandoned') as resolved,
      count(c.minutes) as measured, sum(c.minutes) as minutes,
      count(c.rating) as ratings, sum(c.rating) as rated,
      count(c.rating) filter (where c.was_taken) as taken_ratings,
      sum(c.rating) filter (where c.was_taken) as taken_rated
    from (
      select c.chatbot_id, c.status, d.began, d.ended,
        case when d.ended then c.session_duration_minutes end as minutes,
        case when c.ended_at is null or d.ended then c.satisfaction_rating end as rating,
        c.satisfaction_rating is not null and exists (
          select from private.fact_hitl_sessions s
          where s.company_id = c.company_id and s.conversation_id = c.id) as was_taken
      from private.fact_conversations c
      cross join lateral (
        select (c.started_at at time zone p_timezone)::date = p_date as began,
          coalesce((c.ended_at at time zone p_timezone)::date = p_date, false) as ended) d
      where c.company_id = p_company and (d.began or d.ended)
        and (c.started_at >= v_from and c.started_at < v_to
          or c.ended_at >= v_from and c.ended_at < v_to)) c
    group by c.chatbot_id
  ),
  taken as (
    select s.chatbot_id,
      count(*) filter (where (s.opened_at at time zone p_timezone)::date = p_date) as opened,
      count(*) filter (where r.is_resolved) as resolved,
      sum(extract(epoch from s.ended_at - s.opened_at)) filter (where r.is_resolved) as seconds
    from private.fact_hitl_sessions s
    cross join lateral (
      select s.status = 'resolved'
        and (s.ended_at at time zone p_timezone)::date = p_date as is_resolved) r
    where s.company_id = p_company
      and (s.opened_at >= v_from and s.opened_at < v_to or s.ended_at >= v_from and s.ended_at < v_to)
      and ((s.opened_at at time zone p_timezone)::date = p_date or r.is_resolved)
    group by s.chatbot_id
  ),
  reacted as (
    select r.chatbot_id, count(*) filter (where r.reaction_type = 'thumbs_up') as up,
      count(*) filter (where r.reaction_type = 'thumbs_down') as down
    from private.fact_message_reactions r
    where r.company_id = p_company and r.created_at >= v_from and r.created_at < v_to
      and (r.created_at at time zone p_timezone)::date = p_date
      and r.reaction_type in ('thumbs_up', 'thumbs_down')
    group by r.chatbot_id
  ),
  asked as (
    select c.chatbot_id, count(*) as queries, count(*) filter (where q.results_count > 0) as hits
    from private.fact_knowledge_queries q
    left join private.fact_conversations c
      on c.company_id = q.company_id and c.id = q.conversation_id
    where q.company_id = p_company and q.created_at >= v_from and q.created_at < v_to
      and (q.created_at at time zone p_timezone)::date = p_date
    group by c.chatbot_id
  )
  select p_company, chatbot_id, p_date,
    coalesce(sum(said.messages), 0), coalesce(sum(said.bot), 0), coalesce(sum(said.human), 0),
    coalesce(sum(said.end_user), 0), coalesce(sum(held.began), 0), coalesce(sum(said.active), 0),
    coalesce(sum(held.resolved), 0), sum(held.minutes) / nullif(sum(held.measured), 0),
    coalesce(sum(taken.opened), 0), sum(taken.seconds) / nullif(60 * sum(taken.resolved), 0),
    sum(held.taken_rated) / nullif(sum(held.taken_ratings), 0),
    sum(said.response_ms) / nullif(sum(said.responses), 0),
    coalesce(sum(said.response_ms), 0), coalesce(sum(said.responses), 0),
    coalesce(sum(said.tokens), 0), coalesce(sum(held.ratings), 0), coalesce(sum(held.rated), 0),
    sum(held.rated) / nullif(sum(held.ratings), 0), coalesce(sum(reacted.up), 0),
    coalesce(sum(reacted.down), 0), coalesce(sum(asked.queries), 0), coalesce(sum(asked.hits), 0),
    100 * sum(asked.hits) / nullif(sum(asked.queries), 0)
  from said
  full join held using (chatbot_id)
  full join taken using (chatbot_id)
  full join reacted using (chatbot_id)
  full join asked using (chatbot_id)
  group by grouping sets ((chatbot_id), ())
  having count(*) > 0 and (chatbot_id is not null or grouping(chatbot_id) = 1);
end $$;
comment on function private.recount_day(uuid, date, text) is
  'Recounts a company''s day and writes its rows, in one pass over its facts. roll_up_analytics must hold the lock on the company. Security definer, called by other definers only, because no role may write statistics directly.';

create function private.refresh_chatbot_figures(p_company uuid) returns void
language sql volatile security definer set search_path = '' as $$
  update public.chatbots b
  set total_conversations = f.conversations, total_messages = f.messages,
    avg_response_time_ms = f.response_ms, satisfaction_score = f.satisfaction
  from (
    select k.id, coalesce(sum(a.new_conversations), 0) as conversations,
      coalesce(sum(a.total_messages), 0) as messages,
      coalesce(round(sum(a.response_time_total_ms) / nullif(sum(a.response_time_count), 0)), 0)
        as response_ms,
      coalesce(round(sum(a.satisfaction_total)::numeric / nullif(sum(a.satisfaction_ratings), 0), 2), 0)
        as satisfaction
    from public.chatbots k
    left join public.analytics_daily a on a.company_id = k.company_id and a.chatbot_id = k.id
    where k.company_id = p_company
    group by k.id) f
  where b.company_id = p_company and b.id = f.id
    and (b.total_conversations, b.total_messages, b.avg_response_time_ms, b.satisfaction_score)
      is distinct from (f.conversations, f.messages, f.response_ms, f.satisfaction)
$$;
comment on function private.refresh_chatbot_figures(uuid) is
  'Sets the cached figures of a company''s bots from analytics_daily. Security definer, called by other definers only, because no role may write these columns directly.';

create function private.roll_up_analytics(p_company uuid, p_limit integer) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_timezone text;
  v_days date[];
begin
  -- One at a time: of two, the one that read the facts earlier could write last. Held to the end
  -- of the transaction, and taken before the statements below look at anything.
  if not pg_try_advisory_xact_lock(hashtextextended('private.roll_up_analytics ' || p_company, 0)) then
    return 0;
  end if;
  with everything as (
    delete from public.analytics_dirty d where d.company_id = p_company and d.moment is null returning d.id
  )
  insert into public.analytics_dirty (company_id, moment)
  -- Every fact has its row already or a mark of its own; another timezone moves it by 26 hours at most.
  select distinct p_company, (a.date + n)::timestamp at time zone 'UTC' + interval '12 hours'
  from public.analytics_daily a cross join generate_series(-3, 3) n
  where a.company_id = p_company and exists (select from everything);
  select c.timezone into v_timezone from public.companies c where c.id = p_company;
  v_days := array(
    select distinct (d.moment at time zone v_timezone)::date as day
    from public.analytics_dirty d
    where d.company_id = p_company and d.moment is not null
    order by day desc limit p_limit);
  -- A mark that is seen here is of a fact that the count below sees; a later one stays.
  delete from public.analytics_dirty d
  where d.company_id = p_company
    and ((d.moment at time zone v_timezone)::date = any (v_days) or v_timezone is null);
  perform private.recount_day(p_company, day, v_timezone) from unnest(v_days) as day;
  if cardinality(v_days) > 0 then
    perform private.refresh_chatbot_figures(p_company);
  end if;
  return cardinality(v_days);
end $$;
comment on function private.roll_up_analytics(uuid, integer) is
  'Recounts at most p_limit changed days of a company, the newest first. Returns the number (0 as well while another call counts the company: an advisory lock admits one, because of two the one that read the facts earlier could write last). It must be called in READ COMMITTED. Security definer, called by the worker process, because no role may write statistics directly.';
grant execute on function private.roll_up_analytics(uuid, integer) to neurant_jobs;

create function private.companies_to_roll_up() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select distinct d.company_id from public.analytics_dirty d
$$;
comment on function private.companies_to_roll_up() is
  'Returns the companies with days to recount. Security definer, called by the worker process, because it reads all companies; it returns ids only.';
grant execute on function private.companies_to_roll_up() to neurant_jobs;
